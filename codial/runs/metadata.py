"""Metadata of a run's checkpoints, read from the headers of the files without importing torch."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from codial.errors import CodialError
from codial.utils.json_io import parse_json

LAST, PREVIOUS, DAMAGED = (f"{name}.safetensors" for name in ("last", "previous", "damaged"))


def latest_metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata of the last readable checkpoint; empty if there is no checkpoint yet.

    Raises:
        CodialError: there are checkpoints, but none can be read.
    """
    errors: list[CodialError] = []
    for path in existing_checkpoints(folder):
        try:
            return read_metadata(path)
        except CodialError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return {}


def read_metadata(path: Path) -> dict[str, Any]:
    """Return a checkpoint's metadata.

    Raises:
        CodialError: the file cannot be read or has no metadata.
    """
    with open_checkpoint(path) as file:
        header = file.metadata() or {}
    try:
        return parse_json(header["note"])
    except (KeyError, ValueError) as error:
        raise CodialError(
            f"{path} is not a checkpoint of a run: its metadata is missing or damaged; delete it to start again."
        ) from error


def existing_checkpoints(folder: Path) -> Iterator[Path]:
    """Yield the last and the previous checkpoint, if they exist."""
    yield from (path for path in (folder / LAST, folder / PREVIOUS) if path.exists())


def open_checkpoint(path: Path, framework: str = "numpy") -> Any:
    """Return a safetensors file, opened for reading.

    Args:
        path: of the file.
        framework: "pt" returns tensors of torch, "numpy" arrays.

    Raises:
        CodialError: the file cannot be read.
    """
    try:
        return safe_open(path, framework=framework)
    except (SafetensorError, OSError) as error:
        raise unreadable(path, _PICKLE if _is_pickle(path) else str(error)) from error


def unreadable(path: Path, reason: str) -> CodialError:
    """Return the error that says why a checkpoint cannot be read."""
    return CodialError(f"{path} is not a readable checkpoint ({reason}); delete it to start again.")


_PICKLE = "it is a pickle, which can run arbitrary code when loaded; only safetensors files are read"


def _is_pickle(path: Path) -> bool:
    """Return whether a file begins like a pickle, or like a zip archive, in which torch stores one."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    return False
