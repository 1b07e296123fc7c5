"""State of optimizers as named tensors, for checkpoints.

Supported are Adam without amsgrad, and optimizers whose state tensors have the shapes of their parameters, such as SGD
and RMSprop.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from codial.runs.checkpoints import require_same_shapes

_ADAM = {"step", "exp_avg", "exp_avg_sq"}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state tensors of an optimizer, named INDEX.NAME by the index of their parameter."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, tensors in state.items() for name, value in tensors.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Restore the state of an optimizer.

    Args:
        optimizer: optimizer of the same parameters, in the same order.
        tensors: output of `optimizer_tensors`.
        path: file of the checkpoint, for error messages.

    Raises:
        CodialError: tensors are missing, unknown or of another shape; all are listed.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    require_same_shapes(tensors, _expected_shapes(optimizer, parameters, tensors), path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # Fused optimizers require state tensors in the memory layout of their parameters, channels last.
        restored = value if name == "step" else torch.empty_like(parameters[int(index)]).copy_(value)
        state.setdefault(int(index), {})[name] = restored
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _expected_shapes(
    optimizer: torch.optim.Optimizer, parameters: list[Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, list[int]]:
    """Return the shapes that state tensors must have, by name, for all parameters that have any."""
    indices = {key.partition(".")[0] for key in tensors}
    is_adam = isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)
    names = _ADAM if is_adam else {key.partition(".")[2] for key in tensors}
    kept = [(i, p) for i, p in enumerate(parameters) if str(i) in indices]
    return {f"{i}.{name}": [] if name == "step" else list(p.shape) for i, p in kept for name in names}
