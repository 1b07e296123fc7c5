"""ImageNet (ILSVRC 2012) in its usual layout, `imagenet/{train,val}/WNID/*.JPEG`.

`val` may also be flat, as its archive unpacks, val/ILSVRC2012_val_*.JPEG; then the labels come from the development
kit, `imagenet/ILSVRC2012_devkit_t12/data/`, or from Kaggle's list. Kaggle's archive is read as it unpacks: images in
`imagenet/ILSVRC/Data/CLS-LOC/`, labels of `val` in LOC_val_solution.csv, names in LOC_synset_mapping.txt. The labels of
the official test images are unpublished, and results are reported on `val`: "test" reads `val`.
"""

import os
import re
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from codial.data.base import Dataset
from codial.data.catalog import find_entry
from codial.data.checks import check_split, resolve_split
from codial.data.datasets.wordnet import is_wnid, list_class_folders, list_images, name_classes
from codial.data.file_list import LoadOptions, from_paths
from codial.data.io.list_files import line_error, read_lines
from codial.errors import CodialError

DEVKIT = "ILSVRC2012_devkit_t12/data"
GROUND_TRUTH = f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt"
META = f"{DEVKIT}/meta.mat"
MAPPING = "LOC_synset_mapping.txt"
SOLUTION = "LOC_val_solution.csv"
KAGGLE = "ILSVRC/Data/CLS-LOC"  # the folder of train and val in Kaggle's archive
DEFAULT_SIZE = 256  # enough for 224-pixel crops

_ENTRY = find_entry("imagenet")
_FLAT = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def read(root: Path, split: str, **options: Unpack[LoadOptions]) -> Dataset:
    """Read a split.

    Args:
        root: The folder that contains `imagenet/`, or that folder itself.
        split: "train", "val" or "test", which reads "val" and is reported as such.
        options: Those of `codial.data.file_list.from_paths`; `size` is 256 by default.

    Returns:
        The data set, sorted by class and name, or by number for a flat `val`. The classes are the folders of `train`
        (of `val` if there is no `train`) in the order of their WordNet IDs. They are named by their first word in
        LOC_synset_mapping.txt or the development kit, or by their ID if neither is there.

    Raises:
        CodialError: A file is missing or invalid; SciPy is missing for a flat `val` or the names of the kit.
    """
    folder = _ENTRY.locate(root)
    split = _resolve(split)
    paths, labels, wnids = _list(folder, split)
    classes = name_classes(wnids, _read_words(folder, wnids))
    labels_tensor = torch.tensor(labels)
    images = _images(folder)
    return from_paths("imagenet", split, images, paths, labels_tensor, classes, default_size=DEFAULT_SIZE, **options)


def problems(root: Path, split: str) -> list[str]:
    """List what is missing or invalid in a split, without decoding images."""
    folder = _ENTRY.locate(root)
    try:
        _, _, wnids = _list(folder, _resolve(split))
        _read_words(folder, wnids)
    except CodialError as error:
        return [str(error)]
    return []


def _resolve(split: str) -> str:
    check_split(split, _ENTRY.splits, "imagenet")
    return resolve_split(split, _ENTRY.required)


def _list(folder: Path, split: str) -> tuple[list[str], list[int], list[str]]:
    """Return N paths, N labels, and the WordNet IDs of the classes."""
    lists, folder = folder, _images(folder)
    if not (folder / split).is_dir():
        raise CodialError(f"{folder / split} does not exist. Unpack ImageNet there, or set CODIAL_DATA.")
    class_folders = list_class_folders(folder / split)
    wnids = list_class_folders(folder / "train") or class_folders
    if class_folders:
        if unknown := sorted(set(class_folders) - set(wnids)):
            raise CodialError(f"{folder / split / unknown[0]} is a class that {folder / 'train'} does not have.")
        paths, labels = list_images(folder / split, wnids)
    elif split == "val":
        paths, labels, wnids = _list_flat_val(folder, lists, wnids)
    else:
        raise CodialError(f"No class folder such as n01440764 in {folder / split}; unpack the archive of each class.")
    return [f"{split}/{path}" for path in paths], labels, wnids


def _images(folder: Path) -> Path:
    """Return the folder that contains `train` and `val`."""
    return folder / KAGGLE if (folder / KAGGLE).is_dir() else folder


def _find_list(folder: Path, name: str) -> Path:
    """Return the path of one of Kaggle's lists, which are beside ILSVRC/ even if the folder is CLS-LOC in it."""
    return next(
        (path for path in (folder / name, *(each / name for each in folder.parents[:3])) if path.is_file()),
        folder / name,
    )


def _list_flat_val(folder: Path, lists: Path, wnids: list[str]) -> tuple[list[str], list[int], list[str]]:
    """Label the images of a flat `val` by Kaggle's list, or by the number in their name, from the development kit."""
    names = sorted(name for name in os.listdir(folder / "val") if _FLAT.fullmatch(name))
    if not names:
        raise CodialError(f"No class folder and no ILSVRC2012_val_*.JPEG in {folder / 'val'}; unpack ImageNet there.")
    solution = _find_list(lists, SOLUTION)
    wnid_of = _read_solution(solution, names) if solution.is_file() else _read_truth_of(names, folder)
    wnids = wnids or sorted(set(wnid_of.values()))
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    for name in names:
        if wnid_of[name] not in label_of:
            raise CodialError(
                f"{folder / 'val' / name} is of class {wnid_of[name]}, which {folder / 'train'} does not have."
            )
    return names, [label_of[wnid_of[name]] for name in names], wnids


def _read_solution(path: Path, names: list[str]) -> dict[str, str]:
    """Return the WordNet ID of each image from Kaggle's list: a header, then ID,"WNID left top right bottom ..."."""
    wnid_of = {}
    for row, line in enumerate(read_lines(path)[1:], 2):
        image, _, boxes = line.partition(",")
        wnid = boxes.strip('" ').partition(" ")[0]
        if not is_wnid(wnid):
            raise line_error(path, row, line, "the name of an image, a comma, a WordNet ID and a box")
        wnid_of[f"{image}.JPEG"] = wnid
    if missing := [name for name in names if name not in wnid_of]:
        raise CodialError(f"{path} has no line for {missing[0]} and {len(missing) - 1} others; unpack it again.")
    return wnid_of


def _read_truth_of(names: list[str], folder: Path) -> dict[str, str]:
    """Return the WordNet ID of each validation image, from the development kit."""
    ground_truth = _read_ground_truth(folder)
    numbers = [int(name[-13:-5]) for name in names]
    if not 1 <= numbers[0] <= numbers[-1] <= len(ground_truth):
        raise CodialError(
            f"{folder / 'val'} has {names[0]} to {names[-1]}, but {folder / GROUND_TRUTH} has {len(ground_truth)}"
            " lines, one per image from 1. If it is truncated, unpack it again."
        )
    return {f"ILSVRC2012_val_{number:08d}.JPEG": wnid for number, wnid in enumerate(ground_truth, 1)}


def _read_ground_truth(folder: Path) -> list[str]:
    """Return the WordNet ID of each validation image, in the order of their numbers."""
    wnid_of = {str(number): wnid for number, wnid, _ in _read_synsets(folder / META)}
    wnids = []
    for row, line in enumerate(read_lines(folder / GROUND_TRUTH), 1):
        if line.strip() not in wnid_of:
            raise line_error(folder / GROUND_TRUTH, row, line, f"the number of a class in {Path(META).name}")
        wnids.append(wnid_of[line.strip()])
    return wnids


def _read_words(folder: Path, wnids: list[str]) -> dict[str, str]:
    """Return the words of each class; empty if neither the mapping nor the development kit is there."""
    if (path := _find_list(folder, MAPPING)).is_file():
        words = _read_mapping(path)
    elif (folder / META).is_file():
        path = folder / META
        words = {wnid: text for _, wnid, text in _read_synsets(path)}
    else:
        return {}
    if missing := [wnid for wnid in wnids if wnid not in words]:
        raise CodialError(f"{path} has no name for {missing[0]}, a class of {folder}; unpack it again.")
    return words


def _read_mapping(path: Path) -> dict[str, str]:
    words = {}
    for row, line in enumerate(read_lines(path), 1):
        wnid, _, text = line.partition(" ")
        if not is_wnid(wnid) or not text.strip():
            raise line_error(path, row, line, "a WordNet ID, a space and names")
        words[wnid] = text
    return words


def _read_synsets(path: Path) -> list[tuple[int, str, str]]:
    """Return number, WordNet ID and words of each class in the development kit."""
    if not path.is_file():
        raise CodialError(
            f"{path} does not exist, and a flat val has no labels without it. Unpack ILSVRC2012_devkit_t12.tar.gz"
            f" beside train and val, put Kaggle's {SOLUTION} there, or sort the images of val into a folder per class."
        )
    try:
        from scipy.io import loadmat  # class folders are read without SciPy
    except ImportError as error:
        raise CodialError(
            f"{path} needs SciPy ({error}): pip install scipy; or put {MAPPING} in {path.parents[2]}."
        ) from error
    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        fields = (synsets[name].tolist() for name in ("ILSVRC2012_ID", "WNID", "words"))
        return [(int(number), str(wnid), str(words)) for number, wnid, words in zip(*fields, strict=True)]
    except Exception as error:  # loadmat may raise anything on damaged data
        raise CodialError(f"{path} cannot be read: {error!r}. Unpack it again.") from error
