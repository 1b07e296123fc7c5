"""CIFAR-100 in its official python layout, `cifar-100-python/`, with its 100 fine classes."""

from pathlib import Path

import torch

from codial.data import pickles, sums
from codial.data.cifar import read_batch
from codial.data.images import ImageSet
from codial.errors import CodialError

FOLDER = "cifar-100-python"
SPLITS = ("train", "test")
COUNT = 100  # classes
MD5 = {  # of the official files, as torchvision lists them
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}


def read(root: Path, split: str) -> ImageSet:
    """Read CIFAR-100; every file's checksum is verified, every time.

    Args:
        root: the folder that holds `cifar-100-python/`, or that folder itself.
        split: "train" (50,000 pictures) or "test" (10,000).

    Returns:
        The set, 32 x 32, in the official order.

    Raises:
        CodialError: a file is missing, damaged, or not what it should be.
    """
    folder = locate(root)
    pixels, labels = read_batch(folder / split, MD5, "fine_labels", COUNT, "cifar100")
    return ImageSet("cifar100", split, torch.from_numpy(pixels), torch.from_numpy(labels), _classes(folder / "meta"))


def locate(root: Path) -> Path:
    """Return the folder with the files: `root` itself when they lie in it, otherwise the official sub-folder."""
    return root if root.name == FOLDER or (root / "meta").is_file() else root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the files are there."""
    return sums.status(locate(root), MD5, "cifar100")


def problems(root: Path, split: str) -> list[str]:
    """Name the files of a split that are missing or damaged."""
    return sums.faults(locate(root), (split, "meta"), MD5)


def _classes(path: Path) -> tuple[str, ...]:
    sums.verify(path, MD5, "cifar100")
    meta = pickles.load(path)
    names = meta.get("fine_label_names") if isinstance(meta, dict) else None
    if not isinstance(names, list) or len(names) != COUNT or not all(isinstance(name, str) for name in names):
        raise CodialError(f"{path} does not hold the names of {COUNT} classes. {sums.get(path.parent, 'cifar100')}")
    return tuple(names)
