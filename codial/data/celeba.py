"""CelebA's aligned faces in their official layout, `celeba/`, each with 40 tags.

img_align_celeba/*.jpg, list_attr_celeba.txt (count, the attributes' names, then a picture a line, 1 yes and -1 no) and
list_eval_partition.txt (0 train, 1 val, 2 test). A part of the set will do, if its two lists name the same pictures.
"""

import re
from itertools import zip_longest
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from codial.data.lines import absent, lines, numbered, wrong_line
from codial.data.listed import Options, from_paths
from codial.data.pictures import Pictures
from codial.data.splits import check_split, presence
from codial.errors import CodialError

FOLDER = "celeba"
PICTURES = "img_align_celeba"
ATTRIBUTES = "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
SPLITS = ("train", "val", "test")  # 0, 1 and 2 in the partition
TAGS = 40
SIDE = 96  # room for 64-pixel crops

_ROW = re.compile(rf"\S+( +-?1){{{TAGS}}} *")


def read(root: Path, split: str, **options: Unpack[Options]) -> Pictures:
    """Read the pictures of a split.

    Args:
        root: the folder that holds `celeba/`, or that folder itself.
        split: "train", "val" or "test".
        options: those of `codial.data.listed.from_paths`; size is that of the central squares (178 of
            178 x 218 pixels), 96 if None.

    Returns:
        The set, in the order of the lists, without labels; tags [N, 40], `classes` the attributes' names.

    Raises:
        CodialError: a list is missing, cut short, or a line is not what it should be; the lists disagree.
    """
    folder = locate(root)
    paths, tags, classes = _list(folder, split)
    return from_paths(
        "celeba",
        split,
        folder / PICTURES,
        paths,
        torch.full((len(paths),), -1),
        classes,
        tags=tags,
        side=SIDE,
        **options,
    )


def problems(root: Path, split: str) -> list[str]:
    """Say what is missing or broken in a split, a line each; no picture is decoded."""
    folder = locate(root)
    try:
        paths, _, _ = _list(folder, split)
    except CodialError as error:
        return [str(error)]
    return absent(folder / PICTURES, paths)


def locate(root: Path) -> Path:
    """Return the set's folder: `root` itself when its lists lie in it, otherwise its sub-folder `celeba`."""
    return root if root.name == FOLDER or (root / ATTRIBUTES).is_file() else root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the set is there, and which splits."""
    folder = locate(root)
    whole = (folder / ATTRIBUTES).is_file() and (folder / PARTITION).is_file()
    return presence(folder, SPLITS if whole else ())


def _list(folder: Path, split: str) -> tuple[list[str], Tensor, tuple[str, ...]]:
    """Return the names of N pictures, their tags [N, 40] int8, and those of the tags."""
    check_split(split, SPLITS, "celeba")
    names, parts = _partition(folder / PARTITION)
    pictures, tags, classes = _attributes(folder / ATTRIBUTES)
    if names != pictures:
        raise _disagree(folder, names, pictures)
    chosen = np.flatnonzero(parts == SPLITS.index(split))
    if not len(chosen):
        raise CodialError(f"{folder / PARTITION} has no picture of {split!r} ({SPLITS.index(split)}).")
    return [names[i] for i in chosen], torch.from_numpy(tags[chosen]), classes


def _partition(path: Path) -> tuple[list[str], np.ndarray]:
    names, parts = numbered(path)
    wrong = np.flatnonzero(parts >= len(SPLITS))
    if len(wrong):
        place = int(wrong[0])
        raise wrong_line(path, place + 1, f"{names[place]} {parts[place]}", "0 (train), 1 (val) or 2 (test)")
    return names, parts


def _attributes(path: Path) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Return N names, their marks [N, 40] int8 (1 yes, 0 no), and the attributes' names."""
    found = lines(path)
    count, classes, rows = found[0].strip(), tuple(" ".join(found[1:2]).split()), found[2:]
    if count != str(len(rows)):
        raise CodialError(
            f"{path} begins with {count[:20]!r}, the number of its pictures, but has {len(rows)} lines of them. Was it"
            " cut short? Unpack it again."
        )
    if not len(set(classes)) == len(classes) == TAGS:
        raise wrong_line(path, 2, " ".join(classes), f"{TAGS} different names of attributes")
    for place, row in enumerate(rows, 3):
        if not _ROW.fullmatch(row):
            expected = f"a picture and {TAGS} times 1 or -1 (got {len(row.split()) - 1})"
            raise wrong_line(path, place, row, expected)
    marks = np.loadtxt((row.partition(" ")[2] for row in rows), np.int8, ndmin=2)
    return [row.partition(" ")[0] for row in rows], (marks == 1).astype(np.int8), classes


def _disagree(folder: Path, names: list[str], pictures: list[str]) -> CodialError:
    pairs = zip_longest(names, pictures, fillvalue="nothing")
    place, (name, picture) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    return CodialError(
        f"{folder / PARTITION}, line {place + 1}, is of {name}, but {ATTRIBUTES}, line {place + 3}, of {picture}; the"
        " two lists must name the same pictures in the same order. Unpack them again."
    )
