"""Read the text files in which data sets list their images; errors name file and line."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codial.errors import CodialError

_MAX_DIGITS = 18  # of numbers that always fit int64


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, without blank ones at its end.

    Raises:
        CodialError: The file is missing, empty, or not text.
    """
    try:
        text = path.read_text("utf-8").rstrip()
    except FileNotFoundError:
        raise CodialError(f"{path} does not exist. Unpack the data set there, or set CODIAL_DATA.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CodialError(f"{path} cannot be read: {error}. Unpack it again.") from error
    if not text:
        raise CodialError(f"{path} is empty; unpack it again.")
    return text.split("\n")


def read_numbered_names(path: Path) -> tuple[list[str], np.ndarray]:
    """Read a file whose lines are a name, a space and a number.

    Returns:
        names: N strings.
        numbers: [N] int64, at least 0.

    Raises:
        CodialError: The file is missing, or a line has another format.
    """
    return parse_numbered_names(path, read_lines(path))


def parse_numbered_names(path: Path, lines: Sequence[str], first: int = 1) -> tuple[list[str], np.ndarray]:
    """Parse lines of a file as `read_numbered_names` does; its path and the number of the first line are for errors."""
    names, numbers = [], []
    for row, line in enumerate(lines, first):
        name, _, number = line.rstrip().rpartition(" ")
        if not name or not number.isdecimal() or len(number) > _MAX_DIGITS:
            raise line_error(path, row, line, "a name, a space and a whole number")
        names.append(name)
        numbers.append(int(number))
    return names, np.array(numbers, np.int64)


def line_error(path: Path, row: int, line: str, expected: str) -> CodialError:
    """Return the error for a line, counted from 1, that has another content than expected."""
    excerpt = line if len(line) <= 80 else f"{line[:77]}..."
    return CodialError(f"{path}, line {row} is {excerpt!r}; expected {expected}. If it is truncated, unpack it again.")


def find_missing(folder: Path, paths: Sequence[str]) -> list[str]:
    """List the files and sub-folders that do not exist; every sub-folder is listed once, however many its files.

    Args:
        folder: The folder that `paths` are relative to.
        paths: Files, with "/" as the separator.
    """
    existing: dict[str, set[str] | None] = {}  # sub-folder -> names in it, None if it does not exist
    missing = []
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in existing:
            existing[parent] = _names(folder / parent)
            if existing[parent] is None:
                missing.append(f"{folder / parent} is missing")
        names = existing[parent]
        if names is not None and name not in names:
            missing.append(f"{folder}/{path} is missing")
    return missing


def _names(folder: Path) -> set[str] | None:
    return set(os.listdir(folder)) if folder.is_dir() else None
