"""A run's checkpoints: tensors and a note in one safetensors file, with a checksum; the last but one is kept."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codial.errors import CodialError
from codial.stored import parse_values
from codial.writing import write_safely

LAST, PREVIOUS, DAMAGED = (f"{name}.safetensors" for name in ("last", "previous", "damaged"))


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and a note to a safetensors file, whole or not at all; the last one becomes the previous.

    Raises:
        CodialError: the disk is full, or the folder cannot be written to.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = json.dumps(note)
    content = save(plain, {"note": told, "sha256": _checksum(plain, told)})
    write_safely(path, content, keep=path.with_name(PREVIOUS) if path.name == LAST else None)


def newest(folder: Path) -> Path | None:
    """Return the last whole checkpoint of a folder, None where there is none yet.

    A damaged one is named in a warning, if the one before it is whole.

    Raises:
        CodialError: there are checkpoints, but none is whole.
    """
    damaged: list[CodialError] = []
    for path in _kept(folder):
        try:
            require_whole(path)
        except CodialError as error:
            damaged.append(error)
            continue
        if damaged:
            warnings.warn(f"{damaged[0]} {path.name}, of step {read_note(path).get('step')}, is used.", stacklevel=2)
        return path
    if damaged:
        raise damaged[0]
    return None


def set_aside(folder: Path, whole: Path | None) -> None:
    """Rename a damaged last checkpoint, lest it becomes the previous one in place of a whole one."""
    if whole is not None and whole.name != LAST and (folder / LAST).exists():
        (folder / LAST).replace(folder / DAMAGED)


def newest_note(folder: Path) -> dict[str, Any]:
    """Return the note of the last checkpoint that has one; empty where there is no checkpoint yet.

    Raises:
        CodialError: there are checkpoints, but none can be read.
    """
    damaged: list[CodialError] = []
    for path in _kept(folder):
        try:
            return read_note(path)
        except CodialError as error:
            damaged.append(error)
    if damaged:
        raise damaged[0]
    return {}


def read_note(path: Path) -> dict[str, Any]:
    """Return a checkpoint's note.

    Raises:
        CodialError: it cannot be read, or holds none.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
    try:
        return parse_values(metadata["note"])
    except (KeyError, ValueError) as error:
        raise CodialError(f"{path} is no checkpoint of a run: it says no step; delete it to start again.") from error


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return a checkpoint's tensors whose names begin with a prefix.

    Raises:
        CodialError: it cannot be read.
    """
    with _opened(path) as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        except SafetensorError as error:
            raise _unreadable(path, str(error)) from error


def require_whole(path: Path) -> None:
    """Refuse a checkpoint whose tensors or note are not those that were written; older ones have no checksum.

    Raises:
        CodialError: it cannot be read, or its checksum differs.
    """
    note = read_note(path)
    with _opened(path) as file:
        metadata = file.metadata()
    expected, told = metadata.get("sha256"), metadata["note"]
    if strange := sorted(metadata.keys() - {"note", "sha256"}):
        raise _unreadable(path, f"its head holds {strange[0]!r:.40}")
    if expected is not None and expected != (got := _checksum(read_tensors(path), told)):
        raise CodialError(
            f"{path}, of step {note.get('step')}, is damaged: its checksum is {got[:12]}, expected {expected[:12]};"
            " delete it to start again."
        )


def load_exactly(module: torch.nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a module; every name and shape must agree.

    Raises:
        CodialError: names that are missing, unknown or of another shape, all listed.
    """
    own = module.state_dict()
    require_fit(weights, {name: list(tensor.shape) for name, tensor in own.items()}, path)
    module.load_state_dict(weights)


def require_fit(tensors: Mapping[str, Tensor], shapes: Mapping[str, list[int]], path: Path) -> None:
    """Refuse tensors whose names and shapes are not exactly these.

    Raises:
        CodialError: names that are missing, unknown or of another shape, all listed.
    """
    wrong = [f"{n} missing" for n in shapes if n not in tensors] + [f"{n} unknown" for n in tensors if n not in shapes]
    found = [(n, list(tensors[n].shape), shapes[n]) for n in shapes if n in tensors]
    wrong += [f"{n} is {got}, expected {expected}" for n, got, expected in found if got != expected]
    if wrong:
        raise CodialError(f"{path} does not fit the config: {'; '.join(wrong)}.")


def _kept(folder: Path) -> Iterator[Path]:
    """Yield the last checkpoint and the one before it, where they are there."""
    yield from (path for path in (folder / LAST, folder / PREVIOUS) if path.exists())


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, _PICKLE if _is_pickle(path) else str(error)) from error


def _unreadable(path: Path, why: str) -> CodialError:
    return CodialError(f"{path} is not a readable checkpoint ({why}); delete it to start again.")


_PICKLE = "it is a pickle, which could run anything when it is read: only safetensors are"


def _is_pickle(path: Path) -> bool:
    """Say whether a file begins as a pickle or as a zip archive, in which torch keeps one."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    return False


def _checksum(tensors: Mapping[str, Tensor], note: str) -> str:
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
