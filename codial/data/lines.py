"""Lists in text files, as data sets publish them: read in one pass, what is wrong told with its file and line."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codial.errors import CodialError

_DIGITS = 18  # of the longest number that is sure to fit int64


def lines(path: Path) -> list[str]:
    """Read the lines of a text file, without blank ones at its end.

    Raises:
        CodialError: the file is missing, empty, or no text.
    """
    try:
        text = path.read_text("utf-8").rstrip()
    except FileNotFoundError:
        raise CodialError(f"{path} does not exist. Unpack the set there, or say where it is (CODIAL_DATA).") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CodialError(f"{path} cannot be read: {error}. Unpack it again.") from error
    if not text:
        raise CodialError(f"{path} is empty; unpack it again.")
    return text.split("\n")


def numbered(path: Path) -> tuple[list[str], np.ndarray]:
    """Read lines of a name, a space and a whole number.

    Returns:
        names: N strings.
        numbers: [N] int64, 0 or more.

    Raises:
        CodialError: the file is missing, or a line has another form.
    """
    names, numbers = [], []
    for place, line in enumerate(lines(path), 1):
        name, _, number = line.rstrip().rpartition(" ")
        if not name or not number.isdecimal() or len(number) > _DIGITS:
            raise wrong_line(path, place, line, "a name, a space and a whole number")
        names.append(name)
        numbers.append(int(number))
    return names, np.array(numbers, np.int64)


def wrong_line(path: Path, place: int, line: str, expected: str) -> CodialError:
    """Build the error for a line, counted from 1, that does not say what it should."""
    shown = line if len(line) <= 80 else f"{line[:77]}..."
    return CodialError(f"{path}, line {place} is {shown!r}; expected {expected}. Was it cut short? Unpack it again.")


def absent(folder: Path, paths: Sequence[str]) -> list[str]:
    """Name the files, and the sub-folders, that are not there, a line each; every sub-folder is looked through once.

    Args:
        folder: where the paths begin.
        paths: files, "/" between a path's parts.
    """
    held: dict[str, set[str] | None] = {}
    lacking = []
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in held:
            held[parent] = _names(folder / parent)
            if held[parent] is None:
                lacking.append(f"{folder / parent} is missing")
        names = held[parent]
        if names is not None and name not in names:
            lacking.append(f"{folder}/{path} is missing")
    return lacking


def _names(folder: Path) -> set[str] | None:
    return set(os.listdir(folder)) if folder.is_dir() else None
