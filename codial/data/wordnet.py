"""Sets whose classes are folders named by a WordNet identity such as n01440764, as ImageNet has them."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from codial.errors import CodialError

EXTENSION = ".jpeg"  # of ImageNet's pictures, in either case
_WNID = re.compile(r"n\d{8}")


def is_wnid(name: str) -> bool:
    """Say whether this is a WordNet identity: "n" and eight digits."""
    return _WNID.fullmatch(name) is not None


def class_folders(folder: Path) -> list[str]:
    """List the sub-folders that are named by a WordNet identity, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_wnid(entry.name) and entry.is_dir())


def pictures(folder: Path, wnids: Sequence[str], below: str = "") -> tuple[list[str], list[int]]:
    """List the pictures of each class, ordered by class and name.

    Args:
        folder: with a sub-folder a class.
        wnids: the classes.
        below: the folder within each class's that holds its pictures, if they are not right in it.

    Returns:
        paths: N pictures below `folder`, "/" between a path's parts.
        labels: N places in `wnids`.

    Raises:
        CodialError: a class has no picture.
    """
    found = {wnid: _jpegs(folder / wnid / below) for wnid in wnids}
    if empty := [wnid for wnid, names in found.items() if not names]:
        raise CodialError(
            f"{len(empty)} of {len(wnids)} classes have no picture (*{EXTENSION.upper()}) in {folder}; the first:"
            f" {Path(empty[0], below)}. Unpack the set again."
        )
    paths, labels = [], []
    for label, (wnid, names) in enumerate(found.items()):
        start = Path(wnid, below).as_posix()
        paths += [f"{start}/{name}" for name in names]
        labels += [label] * len(names)
    return paths, labels


def class_names(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Name each class by its first word ("bullfrog" of "bullfrog, Rana catesbeiana").

    Two classes of one name, as ImageNet's two cranes, get their identity added; one without words is named by it.
    """
    first = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    count = Counter(first)
    return tuple(name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True))


def _jpegs(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.lower().endswith(EXTENSION) and name[0] != ".")
    except OSError:
        return []
