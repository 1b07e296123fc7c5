"""Tiny-ImageNet in its official layout, `tiny-imagenet-200/`: 64 x 64 pixels, 500 training images per class.

train/WNID/images/*.JPEG, val/images/*.JPEG with val/val_annotations.txt, test/images/*.JPEG without labels, wnids.txt,
words.txt. Copies whose images are sorted into val/WNID, or are directly in train/WNID, are read as well. The labels of
the official test images are unpublished, and results are reported on `val`: "test" reads `val`, and the official test
images are the split "unlabeled".
"""

import os
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from codial.data.base import Dataset
from codial.data.catalog import find_entry
from codial.data.checks import check_split, resolve_split
from codial.data.datasets.wordnet import is_wnid, list_class_folders, list_images, name_classes
from codial.data.file_list import LoadOptions, from_paths
from codial.data.io.list_files import find_missing, line_error, read_lines
from codial.errors import CodialError

DEFAULT_SIZE = 64

_ENTRY = find_entry("tiny-imagenet")


def read(root: Path, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read a split.

    Args:
        root: The folder that contains `tiny-imagenet-200/`, or that folder itself.
        split: "train", "val", "unlabeled", or "test", which reads "val" and is reported as such.
        options: Those of `codial.data.file_list.from_paths`; `size` is 64 by default.

    Returns:
        The data set, 200 classes in the order of their WordNet IDs, named by their first word in words.txt. Training
        images are sorted by class and name, validation images in the order of val_annotations.txt (by class and name if
        they are in a folder per class), unlabeled ones sorted by name.

    Raises:
        CodialError: A file is missing, or a line of a list is invalid.
    """
    folder = _ENTRY.locate(root)
    split = _resolve(split)
    wnids = _read_wnids(folder)
    paths, labels = _list(folder, split, wnids)
    classes = name_classes(wnids, _read_words(folder / "words.txt", wnids))
    return from_paths("tiny-imagenet", split, folder, paths, labels, classes, default_size=DEFAULT_SIZE, **options)


def problems(root: Path, split: str) -> list[str]:
    """List what is missing or invalid in a split, without decoding images."""
    folder = _ENTRY.locate(root)
    try:
        wnids = _read_wnids(folder)
        _read_words(folder / "words.txt", wnids)
        paths, _ = _list(folder, _resolve(split), wnids)
    except CodialError as error:
        return [str(error)]
    unknown = sorted(set(list_class_folders(folder / "train")) - set(wnids)) if split == "train" else []
    return [f"{folder / 'train' / wnid} is not a class of wnids.txt" for wnid in unknown] + find_missing(folder, paths)


def _resolve(split: str) -> str:
    check_split(split, _ENTRY.splits, "tiny-imagenet")
    return resolve_split(split, _ENTRY.required)


def _list(folder: Path, split: str, wnids: list[str]) -> tuple[list[str], Tensor]:
    """Return paths relative to the folder, and labels [N] int64."""
    if split == "unlabeled":
        paths = _list_unlabeled(folder / "test" / "images")
        return paths, torch.full((len(paths),), -1)
    if split == "val" and not _is_sorted(folder / "val"):
        paths, labels = _read_annotations(folder / "val" / "val_annotations.txt", wnids)
    else:
        paths, labels = _list_sorted(folder / split, wnids)
    return [f"{split}/{path}" for path in paths], torch.tensor(labels)


def _is_sorted(val: Path) -> bool:
    """Return whether the validation images were sorted into a folder per class, and are not in val/images as well."""
    return bool(list_class_folders(val)) and not ((val / "images").is_dir() and (val / "val_annotations.txt").is_file())


def _list_sorted(folder: Path, wnids: list[str]) -> tuple[list[str], list[int]]:
    """List images in WNID/images, or directly in WNID."""
    if unknown := sorted(set(list_class_folders(folder)) - set(wnids)) if folder.name == "val" else []:
        raise CodialError(
            f"{folder / unknown[0]} is not a class of wnids.txt; remove it, or unpack the data set again."
        )
    first = next(iter(list_class_folders(folder)), "")
    return list_images(folder, wnids, "images" if not first or (folder / first / "images").is_dir() else "")


def _read_wnids(folder: Path) -> list[str]:
    path = folder / "wnids.txt"
    wnids: list[str] = []
    for row, line in enumerate(read_lines(path), 1):
        if not is_wnid(line.strip()) or line.strip() in wnids:
            raise line_error(path, row, line, "another WordNet ID such as n01440764")
        wnids.append(line.strip())
    return sorted(wnids)


def _read_words(path: Path, wnids: list[str]) -> dict[str, str]:
    words = dict(line.split("\t", 1) for line in read_lines(path) if "\t" in line)
    if missing := [wnid for wnid in wnids if wnid not in words]:
        raise CodialError(f"{path} has no line for {missing[0]}, a class of wnids.txt; unpack it again.")
    return words


def _read_annotations(path: Path, wnids: list[str]) -> tuple[list[str], list[int]]:
    """Return the paths and labels of the validation images; each line also has a box, which is not read."""
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    paths, labels = [], []
    for row, line in enumerate(read_lines(path), 1):
        name, *rest = line.split("\t")
        if len(rest) != 5 or rest[0] not in label_of:
            raise line_error(path, row, line, "an image, a class of wnids.txt and the four numbers of a box")
        paths.append(f"images/{name}")
        labels.append(label_of[rest[0]])
    return paths, labels


def _list_unlabeled(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise CodialError(f"{folder} does not exist, so there are no unlabeled images; unpack test/ of tiny-imagenet.")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".JPEG"))
    if not names:
        raise CodialError(f"No image (*.JPEG) in {folder}; unpack the data set again.")
    return [f"test/images/{name}" for name in names]
