"""Atomic file writes: after a crash a file has either its old or its new content."""

import os
from contextlib import suppress
from pathlib import Path

from codial.errors import CodialError


def write_atomic(path: Path, data: bytes, keep: Path | None = None) -> None:
    """Write a file atomically: write to a temporary name, sync, rename.

    Args:
        path: file to write.
        data: its content.
        keep: where to move an existing file at `path`; it is overwritten if None.

    Raises:
        CodialError: the disk is full or the folder is not writable; an existing file is left as it was.
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
        with suppress(OSError):  # report why writing failed, not why the cleanup did
            part.unlink(missing_ok=True)
        raise write_error(path, error) from error


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file.

    Raises:
        CodialError: the disk is full or the file is not writable; the line may be written in part.
    """
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise write_error(path, error) from error


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they do not exist.

    Raises:
        CodialError: the disk is full or the parent folder is not writable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> CodialError:
    """Return the error to raise when a path could not be written."""
    return CodialError(
        f"{path} could not be written: {error.strerror or error}. Free disk space or fix the folder's permissions, then"
        " run the same command again; existing files are unchanged."
    )
