"""Read a folder of one's own pictures, with or without a sub-folder a class."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from codial.data.decode import EXTENSIONS
from codial.data.files import readable
from codial.data.listed import from_paths
from codial.data.pictures import Pictures
from codial.data.splits import check_split, hashed_split, serving
from codial.errors import CodialError

SPLIT_FOLDERS = ("train", "test", "val")


class Picture(NamedTuple):
    """One file of the folder."""

    path: str  # below the folder, "/" between its parts
    split: str
    category: str | None  # the class: its sub-folder, if it lies in one


def read(
    folder: Path,
    split: str,
    size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    strict: bool = False,
    keep: str = "auto",
) -> Pictures:
    """Read the pictures of a folder, ordered by their path.

    Args:
        folder: with a sub-folder a class, or with pictures right in it (labels -1). Sub-folders `train` and `test`
            (or `val`) are its splits; without them a hash of each path sends about one in five to "test".
        split: "train", "test", "val" where there is a `val` folder, or "all".
        size: side in pixels; the shorter side is shrunk to it and the longer one cut, evenly. 96 if None.
        limit: how many files to choose at random, before any is decoded.
        seed: of that choice.
        strict: a picture that does not decode is an error, not skipped with a warning.
        keep: "memory", "files" or, by `codial.data.listed.MEMORY_LIMIT`, "auto".

    Returns:
        The set, an `ImageSet` or `PictureFiles`; `classes` are the same for every split of the folder.

    Raises:
        CodialError: no such folder, no picture in it, none of that split, none readable; with `strict`, one unreadable.
    """
    pictures = list_pictures(folder)
    classes = tuple(sorted({picture.category for picture in pictures if picture.category is not None}))
    pictures = _of_split(pictures, split, folder)
    labels = _labels(pictures, classes)
    names = tuple(readable(name) for name in classes)
    paths = [picture.path for picture in pictures]
    return from_paths(
        folder.resolve().name,
        split,
        folder,
        paths,
        labels,
        names,
        size=size,
        limit=limit,
        seed=seed,
        strict=strict,
        keep=keep,
    )


def list_pictures(folder: Path) -> list[Picture]:
    """List the picture files of a folder, every split, ordered by path. Nothing is decoded.

    Raises:
        CodialError: no such folder, or no picture file in it.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise CodialError(f"{folder} {what}; expected a folder of pictures.")
    paths = sorted(_walk(folder))
    if not paths:
        raise CodialError(f"No picture in {folder}; expected files ending in {', '.join(EXTENSIONS)}.")
    if not _has_split_folders(folder):
        return [Picture(path, hashed_split(path), _category(path)) for path in paths]
    parts = (path.partition("/") for path in paths)
    return [
        Picture(path, sys.intern(top), _category(rest))
        for path, (top, _, rest) in zip(paths, parts, strict=True)
        if rest and top in SPLIT_FOLDERS
    ]


def _walk(folder: Path) -> Iterator[str]:
    """Yield each picture's path below the folder; links are followed, but no folder is entered twice."""
    seen = {os.path.realpath(folder)}
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in sorted(folders) if _visible(name) and _first_visit(Path(where, name), seen)]
        below = (Path(where).relative_to(folder) / "_").as_posix()[:-1]  # once a folder: there may be a million files
        for name in files:
            if _visible(name) and name.lower().endswith(EXTENSIONS):
                yield below + name


def _first_visit(folder: Path, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    first = real not in seen
    seen.add(real)
    return first


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"  # macOS leaves "._photo.jpg" next to "photo.jpg"


def _refuse(error: OSError) -> None:
    raise CodialError(f"Cannot read {error.filename}: {error.strerror}. Mend its permissions, or move it away.")


def _has_split_folders(folder: Path) -> bool:
    """Say whether `train` and its companions are splits; "train" next to "car" and "plane" is a class."""
    names = {entry.name for entry in folder.iterdir() if entry.is_dir() and _visible(entry.name)}
    return "train" in names and (bool(names & {"test", "val"}) or names == {"train"})


def _category(path: str) -> str | None:
    top, _, rest = path.partition("/")
    return sys.intern(top) if rest else None  # one string for all its pictures


def _labels(pictures: list[Picture], classes: tuple[str, ...]) -> Tensor:
    number = {name: index for index, name in enumerate(classes)}
    return torch.tensor([-1 if p.category is None else number[p.category] for p in pictures], dtype=torch.int64)


def _of_split(pictures: list[Picture], split: str, folder: Path) -> list[Picture]:
    present = {picture.split for picture in pictures} if _has_split_folders(folder) else {"train", "test"}
    check_split(split, [name for name in SPLIT_FOLDERS if serving(name, present) in present] + ["all"], str(folder))
    chosen = [picture for picture in pictures if split == "all" or picture.split == serving(split, present)]
    if not chosen:
        raise CodialError(
            f"None of the {len(pictures)} pictures in {folder} belongs to {split!r} (without train/ and test/ a hash of"
            ' the path decides); add pictures, sort them into train/ and test/, or ask for split="all".'
        )
    return chosen
