"""Data sets whose class folders are named by WordNet IDs such as n01440764, as in ImageNet."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from codial.errors import CodialError

EXTENSION = ".jpeg"  # of ImageNet's images, in any case
_WNID = re.compile(r"n\d{8}")


def is_wnid(name: str) -> bool:
    """Return whether a name is a WordNet ID: "n" and eight digits."""
    return _WNID.fullmatch(name) is not None


def list_class_folders(folder: Path) -> list[str]:
    """List the sub-folders that are named by a WordNet ID, sorted; none if the folder does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_wnid(entry.name) and entry.is_dir())


def list_images(folder: Path, wnids: Sequence[str], subfolder: str = "") -> tuple[list[str], list[int]]:
    """List the images of each class, sorted by class and name.

    Args:
        folder: The folder that contains the class folders.
        wnids: The classes.
        subfolder: The folder within each class folder that contains its images, if they are not directly in it.

    Returns:
        paths: N images, relative to `folder`, with "/" as the separator.
        labels: N indices into `wnids`.

    Raises:
        CodialError: A class has no image.
    """
    names_by_class = {wnid: _jpegs(folder / wnid / subfolder) for wnid in wnids}
    if empty := [wnid for wnid, names in names_by_class.items() if not names]:
        raise CodialError(
            f"{len(empty)} of {len(wnids)} classes have no image (*{EXTENSION.upper()}) in {folder}; the first:"
            f" {Path(empty[0], subfolder)}. Unpack the data set again."
        )
    paths, labels = [], []
    for label, (wnid, names) in enumerate(names_by_class.items()):
        start = Path(wnid, subfolder).as_posix()
        paths += [f"{start}/{name}" for name in names]
        labels += [label] * len(names)
    return paths, labels


def name_classes(wnids: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Name each class by its first word ("bullfrog" of "bullfrog, Rana catesbeiana").

    Classes of the same name, such as ImageNet's two cranes, get their ID appended. Classes without words are named by
    their ID.
    """
    first = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    count = Counter(first)
    return tuple(name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True))


def _jpegs(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.lower().endswith(EXTENSION) and name[0] != ".")
    except OSError:
        return []
