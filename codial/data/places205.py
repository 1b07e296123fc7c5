"""Places205 by its official lists, `places205/trainvalsplit_places205/{train,val}_places205.csv`.

Their lines are "a/abbey/NAME.jpg 0"; the pictures lie below `places205/images256/`, or where the archive unpacks them,
`places205/data/vision/torralba/deeplearning/images256/`. The labels of the official test pictures were never
published, and results are reported on `val`: "test" means `val` here.
"""

from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from codial.data.lines import absent, numbered
from codial.data.listed import Options, from_paths
from codial.data.pictures import Pictures
from codial.data.splits import check_split, presence, serving
from codial.errors import CodialError

FOLDER = "places205"
LISTS = "trainvalsplit_places205"
CATEGORIES = "categories_places205.csv"
SPLITS = ("train", "val", "test")  # "test" is "val"
SIDE = 256

_HELD = ("train", "val")
_PICTURES = ("images256", "data/vision/torralba/deeplearning/images256")


def read(root: Path, split: str, **options: Unpack[Options]) -> Pictures:
    """Read the pictures of a split.

    Args:
        root: the folder that holds `places205/`, or that folder itself.
        split: "train", "val" or "test" (the same as "val", and called so).
        options: those of `codial.data.listed.from_paths`; size is the side in pixels, 256 if None.

    Returns:
        The set, in the order of the list. Classes are named by categories_places205.csv, or by the pictures' folders
        where it is missing: "abbey", "bakery/shop".

    Raises:
        CodialError: a list is missing, a line is not what it should be, or a label is out of range.
    """
    folder, split = locate(root), _held(split)
    paths, labels, classes = _list(folder, split)
    return from_paths(
        "places205",
        split,
        _pictures(folder),
        paths,
        torch.from_numpy(labels),
        classes,
        side=SIDE,
        **options,
    )


def problems(root: Path, split: str) -> list[str]:
    """Say what is missing or broken in a split, a line each; no picture is decoded."""
    folder, split = locate(root), _held(split)
    try:
        paths, labels, classes = _list(folder, split)
        place = _pictures(folder)
    except CodialError as error:
        return [str(error)]
    elsewhere = [i for i, label in enumerate(labels.tolist()) if _category(paths[i]) != classes[label]]
    source = _list_file(folder, split)
    mixed = [f"{source}, line {i + 1}: {paths[i]} has the label of {classes[labels[i]]}" for i in elsewhere]
    return mixed + absent(place, paths)


def locate(root: Path) -> Path:
    """Return the set's folder: `root` itself when the lists lie in it, otherwise its sub-folder `places205`."""
    return root if root.name == FOLDER or (root / LISTS).is_dir() else root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the set is there, and which splits."""
    folder = locate(root)
    return presence(folder, [split for split in _HELD if _list_file(folder, split).is_file()])


def _held(split: str) -> str:
    check_split(split, SPLITS, "places205")
    return serving(split, _HELD)


def _list(folder: Path, split: str) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Return N paths, their labels [N] int64, and the classes."""
    source = _list_file(folder, split)
    paths, labels = numbered(source)
    classes = _named(folder) or _named_by_paths(source, paths, labels)
    outside = np.flatnonzero(labels >= len(classes))
    if len(outside):
        place = int(outside[0])
        raise CodialError(
            f"{source}, line {place + 1} has the label {labels[place]}; expected 0 to {len(classes) - 1}, the"
            f" classes of {CATEGORIES}."
        )
    return paths, labels, classes


def _list_file(folder: Path, split: str) -> Path:
    return folder / LISTS / f"{split}_places205.csv"


def _pictures(folder: Path) -> Path:
    for name in _PICTURES:
        if (folder / name).is_dir():
            return folder / name
    raise CodialError(f"{folder / _PICTURES[0]} does not exist; unpack the pictures of Places205 there.")


def _named(folder: Path) -> tuple[str, ...]:
    """Read the classes' names, "/a/abbey 0" a line; none where there is no such file."""
    path = next((place / CATEGORIES for place in (folder, folder / LISTS) if (place / CATEGORIES).is_file()), None)
    if path is None:
        return ()
    names, labels = numbered(path)
    if not np.array_equal(np.sort(labels), np.arange(len(labels))):
        raise CodialError(f"{path} does not number its {len(names)} classes from 0 to {len(names) - 1}, each once.")
    return tuple(_shortened(names[place]) for place in np.argsort(labels))


def _named_by_paths(source: Path, paths: list[str], labels: np.ndarray) -> tuple[str, ...]:
    """Name each label by the folder of its first picture."""
    found, first = np.unique(labels, return_index=True)
    gaps = np.flatnonzero(found != np.arange(len(found)))
    if len(gaps):
        raise CodialError(f"{source} has no picture of label {gaps[0]} to name it by; put {CATEGORIES} in its folder.")
    return tuple(_category(paths[place]) for place in first)


def _category(path: str) -> str:
    return _shortened(path.rpartition("/")[0])


def _shortened(name: str) -> str:
    """Return "bakery/shop" for "/b/bakery/shop"."""
    letter, _, rest = name.strip("/").partition("/")
    return rest if len(letter) == 1 and rest else name.strip("/")
