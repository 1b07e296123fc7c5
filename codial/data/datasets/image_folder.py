"""A folder of the user's own images, with or without a sub-folder per class."""

import hashlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from codial.data.base import Dataset
from codial.data.checks import check_split, resolve_split
from codial.data.file_list import LoadOptions, from_paths
from codial.data.io.decode import EXTENSIONS
from codial.data.on_disk import printable
from codial.errors import CodialError

SPLIT_FOLDERS = ("train", "test", "val")
TEST_SHARE = 5  # one image in five is in the test split of a folder without train/ and test/


class ImageFile(NamedTuple):
    """An image file of a folder."""

    path: str  # relative to the folder, with "/" as the separator
    split: str
    category: str | None  # name of the class folder, None if it is in none


def read(folder: Path, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read the images of a folder, sorted by path.

    Args:
        folder: Contains a sub-folder per class, or images (labels -1). Its splits are sub-folders `train` and `test`
            (or `val`); without them a hash of each path assigns about one image in five to "test".
        split: "train", "test", "val" if there is a `val` folder, or "all".
        options: Those of `codial.data.file_list.from_paths`; `size` is 96 by default.

    Returns:
        The data set; `classes` are the same for every split of the folder.

    Raises:
        CodialError: The folder does not exist or has no image, the split has none, or none can be decoded; with
            `strict`, one cannot.
    """
    files = list_images(folder)
    classes = tuple(sorted({file.category for file in files if file.category is not None}))
    files = _of_split(files, split, folder)
    paths = [file.path for file in files]
    names = tuple(printable(name) for name in classes)
    return from_paths(folder.resolve().name, split, folder, paths, _labels(files, classes), names, **options)


def list_images(folder: Path) -> list[ImageFile]:
    """List the image files of all splits of a folder, sorted by path, without decoding them.

    Raises:
        CodialError: The folder does not exist or has no image file.
    """
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise CodialError(f"{folder} {fault}; expected a folder of images.")
    paths = sorted(_walk(folder))
    if not paths:
        raise CodialError(f"No image in {folder}; expected files ending in {', '.join(EXTENSIONS)}.")
    if not _has_split_folders(folder):
        return [ImageFile(path, split_by_hash(path), _category(path)) for path in paths]
    parts = (path.partition("/") for path in paths)
    return [
        ImageFile(path, sys.intern(top), _category(rest))
        for path, (top, _, rest) in zip(paths, parts, strict=True)
        if rest and top in SPLIT_FOLDERS
    ]


def split_by_hash(path: str) -> str:
    """Assign an image to "train" or "test", about 4 to 1, by a hash of its path.

    So adding or removing images moves no other, and the split is the same on every machine (macOS writes accents as
    two characters, others as one: both count as the same path).

    Args:
        path: Relative to the folder, with "/" as the separator.
    """
    normalized = unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")
    number = int.from_bytes(hashlib.sha256(normalized).digest()[:8], "big")
    return "train" if number % TEST_SHARE else "test"


def _walk(folder: Path) -> Iterator[str]:
    """Yield the path of each image relative to the folder; links are followed, but no folder is visited twice."""
    visited = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in sorted(folders) if _visible(name) and _first_visit(Path(parent, name), visited)]
        prefix = (Path(parent).relative_to(folder) / "_").as_posix()[:-1]  # once per folder, not per image
        for name in files:
            if _visible(name) and name.lower().endswith(EXTENSIONS):
                yield prefix + name


def _first_visit(folder: Path, visited: set[str]) -> bool:
    real = os.path.realpath(folder)
    first = real not in visited
    visited.add(real)
    return first


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"  # macOS adds "._photo.jpg" beside "photo.jpg"


def _refuse(error: OSError) -> None:
    raise CodialError(f"Cannot read {error.filename}: {error.strerror}. Change its permissions, or move it away.")


def _has_split_folders(folder: Path) -> bool:
    """Return whether `train` is a split; beside other folders such as "car" and "plane" it is a class."""
    names = {entry.name for entry in folder.iterdir() if entry.is_dir() and _visible(entry.name)}
    return "train" in names and (bool(names & {"test", "val"}) or names == {"train"})


def _category(path: str) -> str | None:
    top, _, rest = path.partition("/")
    return sys.intern(top) if rest else None  # interned: one string for all images of a class


def _labels(files: list[ImageFile], classes: tuple[str, ...]) -> Tensor:
    label_of = {name: label for label, name in enumerate(classes)}
    labels = [-1 if file.category is None else label_of[file.category] for file in files]
    return torch.tensor(labels, dtype=torch.int64)


def _of_split(files: list[ImageFile], split: str, folder: Path) -> list[ImageFile]:
    present = {file.split for file in files} if _has_split_folders(folder) else {"train", "test"}
    check_split(
        split, [name for name in SPLIT_FOLDERS if resolve_split(name, present) in present] + ["all"], str(folder)
    )
    selected = [file for file in files if split == "all" or file.split == resolve_split(split, present)]
    if not selected:
        raise CodialError(
            f"None of the {len(files)} images in {folder} is in the split {split!r} (without train/ and test/ a hash of"
            ' the path decides); add images, sort them into train/ and test/, or load split="all".'
        )
    return selected
