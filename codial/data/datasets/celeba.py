"""CelebA's aligned faces in their official layout, `celeba/`, with 40 attributes as tags.

img_align_celeba/*.jpg, list_attr_celeba.txt (the number of images, the names of the attributes, then a line per image,
1 present and -1 absent) and list_eval_partition.txt (0 train, 1 val, 2 test). Kaggle's copy is read as it unpacks:
img_align_celeba/img_align_celeba/*.jpg, and both lists as .csv with a line of names above. A part of the data set can
be read if its two lists name the same images.
"""

import re
from itertools import zip_longest
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from codial.data.base import Dataset
from codial.data.catalog import find_entry
from codial.data.checks import check_split
from codial.data.file_list import LoadOptions, from_paths
from codial.data.io.list_files import find_missing, line_error, parse_numbered_names, read_lines
from codial.errors import CodialError

IMAGES = "img_align_celeba"
ATTRIBUTES = "list_attr_celeba.txt"
PARTITION = "list_eval_partition.txt"
SPLITS = ("train", "val", "test")  # 0, 1 and 2 in the partition
ATTRIBUTE_COUNT = 40
DEFAULT_SIZE = 96  # enough for 64-pixel crops

_ENTRY = find_entry("celeba")
_ROW = re.compile(rf"\S+( +-?1){{{ATTRIBUTE_COUNT}}} *")


def read(root: Path, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read a split.

    Args:
        root: The folder that contains `celeba/`, or that folder itself.
        split: "train", "val" or "test".
        options: Those of `codial.data.file_list.from_paths`. The central square of each image, 178 of 178 x 218
            pixels, is resized to `size`, 96 by default.

    Returns:
        The data set in the order of the lists, without labels; tags [N, 40], `classes` the names of the attributes.

    Raises:
        CodialError: A list is missing, truncated or has an invalid line; the lists disagree.
    """
    folder = _ENTRY.locate(root)
    paths, tags, attributes = _list(folder, split)
    labels = torch.full((len(paths),), -1)
    return from_paths(
        "celeba", split, _images(folder), paths, labels, attributes, tags=tags, default_size=DEFAULT_SIZE, **options
    )


def problems(root: Path, split: str) -> list[str]:
    """List what is missing or invalid in a split, without decoding images."""
    folder = _ENTRY.locate(root)
    try:
        paths, _, _ = _list(folder, split)
    except CodialError as error:
        return [str(error)]
    return find_missing(_images(folder), paths)


def _images(folder: Path) -> Path:
    return folder / IMAGES / IMAGES if (folder / IMAGES / IMAGES).is_dir() else folder / IMAGES


def _list(folder: Path, split: str) -> tuple[list[str], Tensor, tuple[str, ...]]:
    """Return the names of N images, their tags [N, 40] int8, and the names of the attributes."""
    check_split(split, SPLITS, "celeba")
    names, parts = _read_partition(_list_file(folder, PARTITION))
    tagged_names, tags, attributes = _read_attributes(_list_file(folder, ATTRIBUTES))
    if names != tagged_names:
        raise _disagreement(folder, names, tagged_names)
    indices = np.flatnonzero(parts == SPLITS.index(split))
    if not len(indices):
        raise CodialError(f"{folder / PARTITION} has no image of {split!r} ({SPLITS.index(split)}).")
    return [names[i] for i in indices], torch.from_numpy(tags[indices]), attributes


def _list_file(folder: Path, name: str) -> Path:
    """Return a list, the official one or Kaggle's."""
    csv = (folder / name).with_suffix(".csv")
    return csv if csv.is_file() and not (folder / name).is_file() else folder / name


def _read_lines(path: Path, header: int) -> list[str]:
    """Return the lines of a list in the official format, also of a .csv, whose header is one line."""
    lines = read_lines(path)
    if path.suffix != ".csv":
        return lines
    names = lines[0].partition(",")[2].replace(",", " ")
    return [str(len(lines) - 1), names][:header] + [line.replace(",", " ") for line in lines[1:]]


def _read_partition(path: Path) -> tuple[list[str], np.ndarray]:
    names, parts = parse_numbered_names(path, _read_lines(path, header=0), 1 + (path.suffix == ".csv"))
    invalid = np.flatnonzero(parts >= len(SPLITS))
    if len(invalid):
        index = int(invalid[0])
        raise line_error(path, index + 1, f"{names[index]} {parts[index]}", "0 (train), 1 (val) or 2 (test)")
    return names, parts


def _read_attributes(path: Path) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Return N names, their tags [N, 40] int8 (1 present, 0 absent), and the names of the attributes."""
    lines = _read_lines(path, header=2)
    count = lines[0].strip()
    attributes = tuple(" ".join(lines[1:2]).split())
    rows = lines[2:]
    if count != str(len(rows)):
        raise CodialError(
            f"{path} begins with {count[:20]!r}, the number of its images, but has {len(rows)} lines of images. If it"
            " is truncated, unpack it again."
        )
    if not len(set(attributes)) == len(attributes) == ATTRIBUTE_COUNT:
        raise line_error(path, 2, " ".join(attributes), f"{ATTRIBUTE_COUNT} different names of attributes")
    for number, row in enumerate(rows, 2 if path.suffix == ".csv" else 3):
        if not _ROW.fullmatch(row):
            expected = f"an image and {ATTRIBUTE_COUNT} times 1 or -1 (got {len(row.split()) - 1})"
            raise line_error(path, number, row, expected)
    values = np.loadtxt((row.partition(" ")[2] for row in rows), np.int8, ndmin=2)
    return [row.partition(" ")[0] for row in rows], (values == 1).astype(np.int8), attributes


def _disagreement(folder: Path, names: list[str], tagged_names: list[str]) -> CodialError:
    pairs = zip_longest(names, tagged_names, fillvalue="nothing")
    index, (name, tagged_name) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    return CodialError(
        f"{folder / PARTITION}, line {index + 1}, names {name}, but {ATTRIBUTES}, line {index + 3}, names"
        f" {tagged_name}; the two lists must name the same images in the same order. Unpack them again."
    )
