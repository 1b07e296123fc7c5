"""ImageNet (ILSVRC 2012) in its usual layout, `imagenet/{train,val}/WNID/*.JPEG`.

`val` may also be flat as its archive unpacks, val/ILSVRC2012_val_*.JPEG; then the labels come from the development kit,
`imagenet/ILSVRC2012_devkit_t12/data/`. The labels of the official test pictures were never published, and results are
reported on `val`: "test" means `val` here.
"""

import os
import re
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from codial.data.lines import lines, wrong_line
from codial.data.listed import Options, from_paths
from codial.data.pictures import Pictures
from codial.data.splits import check_split, presence, serving
from codial.data.wordnet import class_folders, class_names, is_wnid, pictures
from codial.errors import CodialError

FOLDER = "imagenet"
DEVKIT = "ILSVRC2012_devkit_t12/data"
TRUTH = f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt"
META = f"{DEVKIT}/meta.mat"
MAPPING = "LOC_synset_mapping.txt"
SPLITS = ("train", "val", "test")  # "test" is "val"
SIDE = 256  # room for 224-pixel crops

_HELD = ("train", "val")
_FLAT = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def read(root: Path, split: str, **options: Unpack[Options]) -> Pictures:
    """Read the pictures of a split.

    Args:
        root: the folder that holds `imagenet/`, or that folder itself.
        split: "train", "val" or "test" (the same as "val", and called so).
        options: those of `codial.data.listed.from_paths`; size is the central squares' side, 256 if None.

    Returns:
        The set, ordered by class and name, a flat `val` by number. The classes are the folders of `train` (of `val`,
        without it) in the order of their WordNet identities, named by their first word in LOC_synset_mapping.txt or
        the development kit, or by the identity where neither is there.

    Raises:
        CodialError: a file is missing or not what it should be; a flat `val` or the kit's names without SciPy.
    """
    folder, split = locate(root), _held(split)
    paths, labels, wnids = _list(folder, split)
    return from_paths(
        "imagenet",
        split,
        folder,
        paths,
        torch.tensor(labels),
        class_names(wnids, _words(folder, wnids)),
        side=SIDE,
        **options,
    )


def problems(root: Path, split: str) -> list[str]:
    """Say what is missing or broken in a split, a line each; no picture is decoded."""
    folder = locate(root)
    try:
        _, _, wnids = _list(folder, _held(split))
        _words(folder, wnids)
    except CodialError as error:
        return [str(error)]
    return []


def locate(root: Path) -> Path:
    """Return the set's folder: `root` itself when class folders lie in its `train` or `val`, otherwise `imagenet`."""
    if root.name == FOLDER or any(class_folders(root / split) for split in _HELD):
        return root
    return root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the set is there, and which splits."""
    folder = locate(root)
    return presence(folder, [split for split in _HELD if (folder / split).is_dir()])


def _held(split: str) -> str:
    check_split(split, SPLITS, "imagenet")
    return serving(split, _HELD)


def _list(folder: Path, split: str) -> tuple[list[str], list[int], list[str]]:
    """Return N paths, N labels, and the classes' WordNet identities."""
    if not (folder / split).is_dir():
        raise CodialError(f"{folder / split} does not exist. Unpack ImageNet there, or say where it is (CODIAL_DATA).")
    here = class_folders(folder / split)
    wnids = class_folders(folder / "train") or here
    if here:
        if strange := sorted(set(here) - set(wnids)):
            raise CodialError(f"{folder / split / strange[0]} is a class that {folder / 'train'} does not have.")
        paths, labels = pictures(folder / split, wnids)
    elif split == "val":
        paths, labels, wnids = _flat(folder, wnids)
    else:
        raise CodialError(f"No class folder such as n01440764 in {folder / split}; unpack the archive of each class.")
    return [f"{split}/{path}" for path in paths], labels, wnids


def _flat(folder: Path, wnids: list[str]) -> tuple[list[str], list[int], list[str]]:
    """Label the pictures of a flat `val` by the number in their name, from the development kit."""
    names = sorted(name for name in os.listdir(folder / "val") if _FLAT.fullmatch(name))
    if not names:
        raise CodialError(f"No class folder and no ILSVRC2012_val_*.JPEG in {folder / 'val'}; unpack ImageNet there.")
    known, numbers = _identities(folder), [int(name[-13:-5]) for name in names]
    if not 1 <= numbers[0] <= numbers[-1] <= len(known):
        raise CodialError(
            f"{folder / 'val'} has {names[0]} to {names[-1]}, but {folder / TRUTH} {len(known)} lines, a picture each"
            " from 1. Was it cut short? Unpack it again."
        )
    wnids = wnids or sorted(set(known))
    label = {wnid: place for place, wnid in enumerate(wnids)}
    found = [known[number - 1] for number in numbers]
    for name, wnid in zip(names, found, strict=True):
        if wnid not in label:
            raise CodialError(f"{folder / 'val' / name} is of class {wnid}, which {folder / 'train'} does not have.")
    return names, [label[wnid] for wnid in found], wnids


def _identities(folder: Path) -> list[str]:
    """Read the class of each validation picture, in the order of their numbers."""
    known = {str(number): wnid for number, wnid, _ in _synsets(folder / META)}
    found = []
    for place, line in enumerate(lines(folder / TRUTH), 1):
        if line.strip() not in known:
            raise wrong_line(folder / TRUTH, place, line, f"a class's number in {Path(META).name}")
        found.append(known[line.strip()])
    return found


def _words(folder: Path, wnids: list[str]) -> dict[str, str]:
    """Read what the classes are called; nothing where neither the mapping nor the development kit is there."""
    if (folder / MAPPING).is_file():
        path, words = folder / MAPPING, _mapping(folder / MAPPING)
    elif (folder / META).is_file():
        path, words = folder / META, {wnid: text for _, wnid, text in _synsets(folder / META)}
    else:
        return {}
    if nameless := [wnid for wnid in wnids if wnid not in words]:
        raise CodialError(f"{path} has no name for {nameless[0]}, a class of {folder}; unpack it again.")
    return words


def _mapping(path: Path) -> dict[str, str]:
    words = {}
    for place, line in enumerate(lines(path), 1):
        wnid, _, text = line.partition(" ")
        if not is_wnid(wnid) or not text.strip():
            raise wrong_line(path, place, line, "a WordNet identity, a space and names")
        words[wnid] = text
    return words


def _synsets(path: Path) -> list[tuple[int, str, str]]:
    """Read each class's number, WordNet identity and names from the development kit."""
    if not path.is_file():
        raise CodialError(
            f"{path} does not exist, and a flat val has no labels without it. Unpack ILSVRC2012_devkit_t12.tar.gz"
            " beside train and val, or sort the pictures of val into a folder a class."
        )
    try:
        from scipy.io import loadmat  # only here: class folders are read without SciPy
    except ImportError as error:
        raise CodialError(f"{path} needs SciPy ({error}): pip install scipy; or put {MAPPING} there.") from error
    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        fields = (synsets[name].tolist() for name in ("ILSVRC2012_ID", "WNID", "words"))
        return [(int(number), str(wnid), str(words)) for number, wnid, words in zip(*fields, strict=True)]
    except Exception as error:  # on damaged bytes loadmat may raise anything
        raise CodialError(f"{path} cannot be read: {error!r}. Unpack it again.") from error
