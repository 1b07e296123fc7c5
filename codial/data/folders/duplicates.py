"""Image files of a folder that have the same content: within a split, in two splits, or in two classes."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from codial.data.folders.layout import ImageFile, listed
from codial.data.folders.names import SPLITS

_CHUNK = 2**14  # bytes that are compared before whole files are
_SHOWN = 2  # pairs in a line

_ORDER = (None, *SPLITS)

_Key = TypeVar("_Key", bound=Hashable)


def find_duplicates(folder: Path, files: Sequence[ImageFile]) -> list[list[ImageFile]]:
    """Return the groups of files with the same bytes. Empty files and files that cannot be read are in none.

    Files are compared by size, those of one size by their beginnings, and only the rest as a whole.
    """
    groups = _regrouped([list(files)], lambda file: (folder / file.path).stat().st_size or None)
    groups = _regrouped(groups, lambda file: _digest(folder / file.path, _CHUNK))
    return _regrouped(groups, lambda file: _digest(folder / file.path, None))


def duplicates_in_words(groups: Iterable[Sequence[ImageFile]]) -> list[str]:
    """Return a line for each place where there are copies, with their number and some pairs of paths."""
    pairs: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        first, *others = sorted(group, key=lambda file: _ORDER.index(file.split))
        for other in others:
            pairs[_place(first, other)].append(f"{first.path} = {other.path}")
    return [f"copies {place}: {len(found):,} ({listed(found, _SHOWN)})" for place, found in sorted(pairs.items())]


def _place(first: ImageFile, other: ImageFile) -> str:
    classes = "" if first.category == other.category else f", of {first.category} and {other.category}"
    if first.split != other.split:
        return f"across {first.split} and {other.split}{classes}"
    return f"within {first.split}{classes}" if first.split else f"in the folder{classes}"


def _regrouped(groups: Iterable[list[ImageFile]], key: "Callable[[ImageFile], _Key | None]") -> list[list[ImageFile]]:
    """Split groups by a key and keep those of two or more files; a key of None, or none at all, drops a file."""
    kept = []
    for group in groups:
        parts: dict[_Key, list[ImageFile]] = defaultdict(list)
        for file in group:
            try:
                value = key(file)
            except OSError:  # reported when the image is decoded
                continue
            if value is not None:
                parts[value].append(file)
        kept += [part for part in parts.values() if len(part) > 1]
    return kept


def _digest(path: Path, size: int | None) -> bytes:
    with path.open("rb") as file:
        if size is not None:
            return hashlib.sha256(file.read(size)).digest()
        return hashlib.file_digest(file, "sha256").digest()
