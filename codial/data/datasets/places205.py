"""Places205 by its official lists, `places205/trainvalsplit_places205/{train,val}_places205.csv`.

Their lines are "a/abbey/NAME.jpg 0". The images are below `places205/images256/`, or where the archive unpacks them,
`places205/data/vision/torralba/deeplearning/images256/`. The labels of the official test images are unpublished, and
results are reported on `val`: "test" reads `val`.
"""

from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from codial.data.base import Dataset
from codial.data.catalog import find_entry
from codial.data.checks import check_split, resolve_split
from codial.data.file_list import LoadOptions, from_paths
from codial.data.io.list_files import find_missing, read_numbered_names
from codial.errors import CodialError

LISTS = "trainvalsplit_places205"
CATEGORIES = "categories_places205.csv"
DEFAULT_SIZE = 256

_ENTRY = find_entry("places205")
_IMAGES = ("images256", "data/vision/torralba/deeplearning/images256")


def read(root: Path, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read a split.

    Args:
        root: The folder that contains `places205/`, or that folder itself.
        split: "train", "val" or "test", which reads "val" and is reported as such.
        options: Those of `codial.data.file_list.from_paths`; `size` is 256 by default.

    Returns:
        The data set in the order of the list. Classes are named by categories_places205.csv, or by the folders of
        the images if it is missing: "abbey", "bakery/shop".

    Raises:
        CodialError: A list is missing, a line is invalid, or a label is out of range.
    """
    folder = _ENTRY.locate(root)
    split = _resolve(split)
    paths, labels, classes = _list(folder, split)
    labels_tensor = torch.from_numpy(labels)
    return from_paths(
        "places205", split, _images(folder), paths, labels_tensor, classes, default_size=DEFAULT_SIZE, **options
    )


def problems(root: Path, split: str) -> list[str]:
    """List what is missing or invalid in a split, without decoding images."""
    folder = _ENTRY.locate(root)
    split = _resolve(split)
    try:
        paths, labels, classes = _list(folder, split)
        images = _images(folder)
    except CodialError as error:
        return [str(error)]
    mislabeled = [i for i, label in enumerate(labels.tolist()) if _category(paths[i]) != classes[label]]
    source = _list_file(folder, split)
    lines = [f"{source}, line {i + 1}: {paths[i]} has the label of {classes[labels[i]]}" for i in mislabeled]
    return lines + find_missing(images, paths)


def _resolve(split: str) -> str:
    check_split(split, _ENTRY.splits, "places205")
    return resolve_split(split, _ENTRY.required)


def _list(folder: Path, split: str) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Return N paths, their labels [N] int64, and the names of the classes."""
    source = _list_file(folder, split)
    paths, labels = read_numbered_names(source)
    classes = _classes_from_file(folder) or _classes_from_paths(source, paths, labels)
    invalid = np.flatnonzero(labels >= len(classes))
    if len(invalid):
        index = int(invalid[0])
        raise CodialError(
            f"{source}, line {index + 1} has the label {labels[index]}; expected 0 to {len(classes) - 1}, the"
            f" classes of {CATEGORIES}."
        )
    return paths, labels, classes


def _list_file(folder: Path, split: str) -> Path:
    return folder / LISTS / f"{split}_places205.csv"


def _images(folder: Path) -> Path:
    for name in _IMAGES:
        if (folder / name).is_dir():
            return folder / name
    raise CodialError(f"{folder / _IMAGES[0]} does not exist; unpack the images of Places205 there.")


def _classes_from_file(folder: Path) -> tuple[str, ...]:
    """Read the names of the classes, "/a/abbey 0" per line; empty if there is no such file."""
    candidates = (folder / CATEGORIES, folder / LISTS / CATEGORIES)
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        return ()
    names, labels = read_numbered_names(path)
    if not np.array_equal(np.sort(labels), np.arange(len(labels))):
        raise CodialError(f"{path} does not number its {len(names)} classes from 0 to {len(names) - 1}, each once.")
    return tuple(_without_letter(names[index]) for index in np.argsort(labels))


def _classes_from_paths(source: Path, paths: list[str], labels: np.ndarray) -> tuple[str, ...]:
    """Name each class by the folder of its first image."""
    values, first = np.unique(labels, return_index=True)
    gaps = np.flatnonzero(values != np.arange(len(values)))
    if len(gaps):
        raise CodialError(f"{source} has no image of label {gaps[0]} to name it by; put {CATEGORIES} in its folder.")
    return tuple(_category(paths[index]) for index in first)


def _category(path: str) -> str:
    return _without_letter(path.rpartition("/")[0])


def _without_letter(name: str) -> str:
    """Return "bakery/shop" for "/b/bakery/shop"."""
    letter, _, rest = name.strip("/").partition("/")
    return rest if len(letter) == 1 and rest else name.strip("/")
