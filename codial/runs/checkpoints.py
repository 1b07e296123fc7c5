"""Checkpoints of a run: tensors, metadata and a checksum in one safetensors file; the previous one is kept as well."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from codial.errors import CodialError
from codial.runs.metadata import (
    DAMAGED,
    LAST,
    PREVIOUS,
    existing_checkpoints,
    open_checkpoint,
    read_metadata,
    unreadable,
)
from codial.utils.atomic_io import write_atomic


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; an existing last.safetensors becomes previous.safetensors.

    Args:
        path: safetensors file to write.
        tensors: by name, of any device and memory layout.
        metadata: step, epoch and so on; stored as JSON under the header's key `note`.

    Raises:
        CodialError: the disk is full or the folder is not writable.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    note = json.dumps(metadata)
    content = save(plain, {"note": note, "sha256": _checksum(plain, note)})
    write_atomic(path, content, keep=path.with_name(PREVIOUS) if path.name == LAST else None)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the path of the last valid checkpoint in a folder, or None if there is no checkpoint yet.

    If the last one is damaged, the previous one is returned with a warning.

    Raises:
        CodialError: there are checkpoints, but all of them are damaged.
    """
    errors: list[CodialError] = []
    for path in existing_checkpoints(folder):
        try:
            verify_checkpoint(path)
        except CodialError as error:
            errors.append(error)
            continue
        if errors:
            step = read_metadata(path).get("step")
            warnings.warn(f"{errors[0]} Using {path.name}, of step {step}, instead.", stacklevel=2)
        return path
    if errors:
        raise errors[0]
    return None


def set_aside(folder: Path, valid: Path | None) -> None:
    """Rename a damaged last checkpoint, so that the next save does not replace the valid previous one by it.

    Args:
        folder: the run's `checkpoints` folder.
        valid: what `latest_checkpoint` returned.
    """
    if valid is not None and valid.name != LAST and (folder / LAST).exists():
        (folder / LAST).replace(folder / DAMAGED)


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return a checkpoint's tensors whose names begin with a prefix.

    Raises:
        CodialError: the file cannot be read.
    """
    with open_checkpoint(path, "pt") as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        except SafetensorError as error:
            raise unreadable(path, str(error)) from error


def verify_checkpoint(path: Path) -> None:
    """Check that a checkpoint's tensors and metadata match its checksum; files without one are accepted.

    Raises:
        CodialError: the file cannot be read, or its checksum differs.
    """
    metadata = read_metadata(path)
    with open_checkpoint(path) as file:
        header = file.metadata()
    if unexpected := sorted(header.keys() - {"note", "sha256"}):
        raise unreadable(path, f"unexpected key {unexpected[0]!r:.40} in its header")
    expected = header.get("sha256")
    if expected is not None and expected != (actual := _checksum(read_tensors(path), header["note"])):
        raise CodialError(
            f"{path}, of step {metadata.get('step')}, is damaged: its checksum is {actual[:12]}, expected"
            f" {expected[:12]}; delete it to start again."
        )


def load_strict(module: torch.nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a module; all names and shapes must match.

    Args:
        module: the module to load into.
        weights: as read from the path, by parameter and buffer name.
        path: the checkpoint, for the error message.

    Raises:
        CodialError: names are missing or unknown, or shapes differ; all of them are listed.
    """
    require_same_shapes(weights, {name: list(tensor.shape) for name, tensor in module.state_dict().items()}, path)
    module.load_state_dict(weights)


def require_same_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, list[int]], path: Path) -> None:
    """Check that tensors have exactly the given names and shapes.

    Raises:
        CodialError: names are missing or unknown, or shapes differ; all of them are listed.
    """
    wrong = [f"{name} missing" for name in shapes if name not in tensors]
    wrong += [f"{name} unknown" for name in tensors if name not in shapes]
    actual = {name: list(tensors[name].shape) for name in shapes if name in tensors}
    wrong += [f"{name} is {shape}, expected {shapes[name]}" for name, shape in actual.items() if shape != shapes[name]]
    if wrong:
        raise CodialError(f"{path} does not fit the config: {'; '.join(wrong)}.")


def _checksum(tensors: Mapping[str, Tensor], note: str) -> str:
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
