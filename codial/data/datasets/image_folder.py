"""A folder of the user's own images, with or without a sub-folder per class."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from codial.data.base import Dataset
from codial.data.checks import check_split, resolve_split
from codial.data.file_list import LoadOptions, from_paths
from codial.data.folders.duplicates import duplicates_in_words, find_duplicates
from codial.data.folders.interpret import interpret
from codial.data.folders.layout import ImageFile, Layout
from codial.data.folders.names import is_system
from codial.data.folders.source import parse_folder
from codial.data.io.decode import extensions
from codial.data.on_disk import printable
from codial.errors import CodialError

SPLIT_FOLDERS = ("train", "test", "val")
MAX_COMPARED = 20_000  # images among which `report` looks for copies, which takes seconds
TEST_SHARE = 5  # one image in five is in the test split of a folder without train/ and test/


def read(folder: Path, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read the images of a folder, sorted by path.

    Args:
        folder: Contains a sub-folder per class, or images (labels -1). Its splits are sub-folders such as `train` and
            `test`, see `codial.data.folders.interpret`; without them a hash of each path assigns about one image in
            five to "test". "FOLDER#splits" and the like choose how it is read if there are two ways.
        split: "train", "test", "val" if there is a folder for it, or "all".
        options: Those of `codial.data.file_list.from_paths`; `size` is 96 by default.

    Returns:
        The data set; `classes` are the same for every split of the folder.

    Raises:
        CodialError: The folder does not exist, has no image or can be read in two ways, the split has no image, or none
            can be decoded; with `strict`, one cannot.
    """
    layout, path = read_layout(folder), parse_folder(folder).path
    classes = layout.classes
    files = _of_split(layout, split, path)
    names = tuple(printable(name) for name in classes)
    paths = [file.path for file in files]
    return from_paths(path.resolve().name, split, path, paths, _labels(files, classes), names, **options)


def read_layout(folder: str | Path) -> Layout:
    """Understand a folder from the names of its files: splits, classes, and what is passed over. No file is read.

    Raises:
        CodialError: The folder does not exist, has no image file or can be read in two ways.
    """
    path, choices = parse_folder(folder)
    if not path.is_dir():
        fault = "is a file" if path.exists() else f"does not exist{_looked_in(path)}"
        raise CodialError(f"{path} {fault}; expected a folder of images.")
    return interpret(sorted(_walk(path)), extensions(), str(path), choices)


def report(folder: str | Path, shown: int, compare: bool) -> list[str]:
    """Return in words how a folder is understood: a line for each split, what is passed over, and copies.

    Args:
        folder: As for `read`.
        shown: Number of classes that a line names.
        compare: Whether to look for files with the same content even if there are more than `MAX_COMPARED`.

    Raises:
        CodialError: As of `read_layout`.
    """
    layout, path = read_layout(folder), parse_folder(folder).path
    lines = layout.lines(shown)
    if compare or len(layout.files) <= MAX_COMPARED:
        lines += duplicates_in_words(find_duplicates(path, layout.files))
    return lines


def list_images(folder: str | Path) -> list[ImageFile]:
    """List the image files of all splits of a folder, sorted by path, without decoding them.

    Raises:
        CodialError: As of `read_layout`.
    """
    return _with_splits(read_layout(folder).files)


def split_folders(folder: str | Path) -> tuple[str, ...]:
    """Return the splits that a folder has sub-folders of, such as train and test; empty without any.

    Raises:
        CodialError: As of `read_layout`.
    """
    return tuple(name for name in SPLIT_FOLDERS if name in read_layout(folder).split_folders)


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


def _with_splits(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Return files with the split that the hash of their path says where no folder does."""
    return [file if file.split else file._replace(split=split_by_hash(file.path)) for file in files]


def _walk(folder: Path) -> Iterator[str]:
    """Yield the path of each file relative to the folder; links are followed, but no folder is visited twice.

    Folders that are empty, hidden or of the system are yielded with "/" at their end, and not entered.
    """
    visited = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        prefix = (Path(parent).relative_to(folder) / "_").as_posix()[:-1]  # once per folder, not per image
        hidden = [name for name in folders if is_system(name)]
        yield from (f"{prefix}{name}/" for name in hidden)
        if prefix and not folders and not files:
            yield prefix
        folders[:] = [
            name for name in sorted(folders) if name not in hidden and _first_visit(Path(parent, name), visited)
        ]
        yield from (prefix + name for name in files)


def _first_visit(folder: Path, visited: set[str]) -> bool:
    real = os.path.realpath(folder)
    first = real not in visited
    visited.add(real)
    return first


def _refuse(error: OSError) -> None:
    raise CodialError(f"Cannot read {error.filename}: {error.strerror}. Change its permissions, or move it away.")


def _looked_in(path: Path) -> str:
    return "" if path.is_absolute() else f" in {Path.cwd()}"


def _labels(files: list[ImageFile], classes: tuple[str, ...]) -> Tensor:
    label_of = {name: label for label, name in enumerate(classes)}
    labels = [-1 if file.category is None else label_of[file.category] for file in files]
    return torch.tensor(labels, dtype=torch.int64)


def _of_split(layout: Layout, split: str, folder: Path) -> list[ImageFile]:
    present = set(layout.split_folders) or {"train", "test"}
    check_split(
        split, [name for name in SPLIT_FOLDERS if resolve_split(name, present) in present] + ["all"], str(folder)
    )
    files = layout.files if split == "all" else _with_splits(layout.files)
    selected = [file for file in files if split == "all" or file.split == resolve_split(split, present)]
    if not selected:
        raise CodialError(
            f"None of the {len(files)} images in {folder} is in the split {split!r} (without train/ and test/ a hash of"
            ' the path decides); add images, sort them into train/ and test/, or load split="all".'
        )
    return selected
