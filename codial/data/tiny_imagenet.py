"""Tiny-ImageNet in its official layout, `tiny-imagenet-200/`: 64 x 64 pixels, 500 pictures a class to learn from.

train/WNID/images/*.JPEG, val/images/*.JPEG with val/val_annotations.txt, test/images/*.JPEG without labels, wnids.txt,
words.txt. The labels of the official test pictures were never published, and results are reported on `val`: "test"
therefore means `val` here, whether `test/` is there or not, and its pictures are the split "unlabeled".
"""

import os
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from codial.data.lines import absent, lines, wrong_line
from codial.data.listed import Options, from_paths
from codial.data.pictures import Pictures
from codial.data.splits import check_split, presence, serving
from codial.data.wordnet import class_folders, class_names, is_wnid, pictures
from codial.errors import CodialError

FOLDER = "tiny-imagenet-200"
SPLITS = ("train", "val", "test", "unlabeled")  # "test" is "val"
SIDE = 64

_HELD = ("train", "val", "unlabeled")


def read(root: Path, split: str, **options: Unpack[Options]) -> Pictures:
    """Read the pictures of a split.

    Args:
        root: the folder that holds `tiny-imagenet-200/`, or that folder itself.
        split: "train", "val", "test" (the same as "val", and called so) or "unlabeled".
        options: those of `codial.data.listed.from_paths`; size is the side in pixels, 64 if None.

    Returns:
        The set, 200 classes in the order of their WordNet identities, named by their first word in words.txt. Training
        pictures are ordered by class and name, the others as val_annotations.txt has them, or by name.

    Raises:
        CodialError: a file is missing, or a list's line is not what it should be.
    """
    folder, split, wnids = locate(root), _held(split), _wnids(locate(root))
    paths, labels = _list(folder, split, wnids)
    classes = class_names(wnids, _words(folder / "words.txt", wnids))
    return from_paths(
        "tiny-imagenet",
        split,
        folder,
        paths,
        labels,
        classes,
        side=SIDE,
        **options,
    )


def problems(root: Path, split: str) -> list[str]:
    """Say what is missing or broken in a split, a line each; no picture is decoded."""
    folder = locate(root)
    try:
        wnids = _wnids(folder)
        _words(folder / "words.txt", wnids)
        paths, _ = _list(folder, _held(split), wnids)
    except CodialError as error:
        return [str(error)]
    strange = sorted(set(class_folders(folder / "train")) - set(wnids)) if split == "train" else []
    return [f"{folder / 'train' / wnid} is no class of wnids.txt" for wnid in strange] + absent(folder, paths)


def locate(root: Path) -> Path:
    """Return the set's folder: `root` itself when wnids.txt lies in it, otherwise the official sub-folder."""
    return root if root.name == FOLDER or (root / "wnids.txt").is_file() else root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the set is there, and which splits."""
    folder = locate(root)
    held = {"train": "train", "val": "val/val_annotations.txt", "unlabeled": "test/images"}
    return presence(folder, [split for split, sign in held.items() if (folder / sign).exists()])


def _held(split: str) -> str:
    check_split(split, SPLITS, "tiny-imagenet")
    return serving(split, _HELD)


def _list(folder: Path, split: str, wnids: list[str]) -> tuple[list[str], Tensor]:
    """Return paths below the folder, and labels [N] int64."""
    if split == "unlabeled":
        paths = _unlabeled(folder / "test" / "images")
        return paths, torch.full((len(paths),), -1)
    if split == "val":
        paths, labels = _annotated(folder / "val" / "val_annotations.txt", wnids)
    else:
        paths, labels = pictures(folder / "train", wnids, "images")
    return [f"{split}/{path}" for path in paths], torch.tensor(labels)


def _wnids(folder: Path) -> list[str]:
    path, found = folder / "wnids.txt", []
    for place, line in enumerate(lines(path), 1):
        if not is_wnid(line.strip()) or line.strip() in found:
            raise wrong_line(path, place, line, "another WordNet identity such as n01440764")
        found.append(line.strip())
    return sorted(found)


def _words(path: Path, wnids: list[str]) -> dict[str, str]:
    words = dict(line.split("\t", 1) for line in lines(path) if "\t" in line)
    if nameless := [wnid for wnid in wnids if wnid not in words]:
        raise CodialError(f"{path} has no line for {nameless[0]}, a class of wnids.txt; unpack it again.")
    return words


def _annotated(path: Path, wnids: list[str]) -> tuple[list[str], list[int]]:
    """Read name, class and the four numbers of a box, of which the names and the classes are returned."""
    label = {wnid: place for place, wnid in enumerate(wnids)}
    paths, labels = [], []
    for place, line in enumerate(lines(path), 1):
        name, *rest = line.split("\t")
        if len(rest) != 5 or rest[0] not in label:
            raise wrong_line(path, place, line, "a picture, a class of wnids.txt and the four numbers of a box")
        paths.append(f"images/{name}")
        labels.append(label[rest[0]])
    return paths, labels


def _unlabeled(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise CodialError(f"{folder} does not exist: tiny-imagenet has no unlabeled pictures here; unpack its test/.")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".JPEG"))
    if not names:
        raise CodialError(f"No picture (*.JPEG) in {folder}; unpack the set again.")
    return [f"test/images/{name}" for name in names]
