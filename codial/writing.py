"""Files that are there whole or as they were before."""

import os
from contextlib import suppress
from pathlib import Path

from codial.errors import CodialError


def write_safely(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Write a file so that it is there whole or not at all: temporary name, sync, rename.

    Args:
        path: of the file.
        data: its content.
        keep: where the file that was there before is moved to; it is replaced when left out.

    Raises:
        CodialError: the disk is full, or the folder cannot be written to; what was there before still is.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        part.replace(path)
    except OSError as error:
        _remove(part)
        raise _failed(path, error) from error


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file.

    Raises:
        CodialError: the disk is full, or the file cannot be written to; a part of the line may be left.
    """
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _failed(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        CodialError: the disk is full, or the folder above it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(path, error) from error


def _remove(part: Path) -> None:
    with suppress(OSError):  # what is told is why it could not be written
        part.unlink(missing_ok=True)


def _failed(path: Path, error: OSError) -> CodialError:
    return CodialError(
        f"{path} could not be written: {error.strerror or error}. Make room on the disk, or mend the folder's"
        " permissions, and do the same again; what was there before is still there."
    )
