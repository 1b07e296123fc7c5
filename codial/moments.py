"""What optimisers remember of the steps they took, as tensors by name, for checkpoints.

Of Adam without amsgrad, and of those whose moments have their parameters' shapes, such as SGD and RMSprop.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from codial.checkpoints import require_fit

_ADAM = {"step", "exp_avg", "exp_avg_sq"}


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimiser remembers of each parameter that has learnt, as NUMBER.NAME."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{name}": value for i, each in state.items() for name, value in each.items()}


def put_back(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give an optimiser back what `moments` returned.

    Args:
        optimiser: of the same parameters; it goes on as if it had never stopped.
        tensors: as NUMBER.NAME.
        path: of the checkpoint, for the error.

    Raises:
        CodialError: names that are missing, unknown or of another shape, all listed.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    learnt = {key.partition(".")[0] for key in tensors}
    adam = isinstance(optimiser, torch.optim.Adam | torch.optim.AdamW)
    names = _ADAM if adam else {key.partition(".")[2] for key in tensors}
    kept = [(i, p) for i, p in enumerate(parameters) if str(i) in learnt]
    shapes = {f"{i}.{name}": [] if name == "step" else list(p.shape) for i, p in kept for name in names}
    require_fit(tensors, shapes, path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # The fused optimiser walks memory: moments must lie as their parameters do, channels last.
        laid_out = value if name == "step" else torch.empty_like(parameters[int(index)]).copy_(value)
        state.setdefault(int(index), {})[name] = laid_out
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
