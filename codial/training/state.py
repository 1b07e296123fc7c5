"""State of a run between two steps, in checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from codial.methods import Method
from codial.runs.checkpoints import load_strict, read_tensors, save_checkpoint
from codial.runs.metadata import read_metadata
from codial.training.optimizer_state import load_optimizer_tensors, optimizer_tensors
from codial.utils.devices import float64_on
from codial.utils.json_io import require_types

Optimizers = Mapping[str, torch.optim.Optimizer]


@dataclass
class TrainingState:
    """State of a run besides the method and its optimizers.

    Attributes:
        step: number of steps that were taken.
        seconds: training time.
        best: best kNN accuracy of the monitors so far, in percent.
        window: values of each term since the last line of the history.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    window: dict[str, list[Tensor | float]] = field(default_factory=dict)

    def add(self, terms: Mapping[str, Tensor | float]) -> None:
        """Add the terms of a step to the window."""
        for name, value in terms.items():
            self.window.setdefault(name, []).append(value.detach() if isinstance(value, Tensor) else value)


def save_state(
    path: Path, state: TrainingState, method: Method, optimizers: Optimizers, position: Mapping[str, float]
) -> None:
    """Write a checkpoint.

    Args:
        path: safetensors file to write.
        state: state to save.
        method: method to save.
        optimizers: optimizers to save, by the term that they minimize.
        position: further metadata: steps, views, epoch and so on.
    """
    device = next(method.parameters()).device
    tensors = {f"model.{name}": value for name, value in method.state_dict().items()}
    tensors |= {f"window.{name}": stack_values(values, device) for name, values in state.window.items()}
    for term, optimizer in optimizers.items():
        tensors |= {f"optimizer.{term}.{name}": value for name, value in optimizer_tensors(optimizer).items()}
    metadata = {"step": state.step, "seconds": round(state.seconds, 2)} | dict(position)
    if math.isfinite(state.best):
        metadata["best"] = state.best
    save_checkpoint(path, tensors, metadata)


def load_state(path: Path, method: Method, optimizers: Optimizers) -> TrainingState:
    """Load a checkpoint into a method and its optimizers, and return its state.

    Args:
        path: safetensors file of the checkpoint.
        method: method of the run.
        optimizers: its optimizers, by the term that they minimize.

    Raises:
        CodialError: the checkpoint is damaged or of another method.
    """
    metadata = {"best": -math.inf} | read_metadata(path)
    require_types(metadata, dict.fromkeys(("step", "seconds", "best"), (int, float)), path)
    tensors = read_tensors(path)
    load_strict(method, _with_prefix(tensors, "model."), path)
    for term, optimizer in optimizers.items():
        load_optimizer_tensors(optimizer, _with_prefix(tensors, f"optimizer.{term}."), path)
    device = next(method.parameters()).device
    window = {name: list(values.to(device)) for name, values in _with_prefix(tensors, "window.").items()}
    return TrainingState(metadata["step"], metadata["seconds"], metadata["best"], window)


def stack_values(values: list[Tensor | float], device: torch.device) -> Tensor:
    """Return the values of a term as one tensor, [n] float64 (float32 on MPS)."""
    dtype = float64_on(device)
    return torch.stack([torch.as_tensor(value, dtype=dtype, device=device) for value in values])


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
