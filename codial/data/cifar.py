"""CIFAR-10 in its official python layout, `cifar-10-batches-py/`."""

import operator
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from codial.data import pickles, sums
from codial.data.images import ImageSet
from codial.errors import CodialError

FOLDER = "cifar-10-batches-py"
SPLITS = ("train", "test")
SIDE = 32
FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MD5 = {  # of the official files, as torchvision lists them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def read(root: Path, split: str) -> ImageSet:
    """Read CIFAR-10; every file's checksum is verified, every time.

    Args:
        root: the folder that holds `cifar-10-batches-py/`, or that folder itself.
        split: "train" (50,000 pictures) or "test" (10,000).

    Returns:
        The set, 32 x 32, in the official order.

    Raises:
        CodialError: a file is missing, damaged, or not what it should be.
    """
    folder = locate(root)
    batches = [read_batch(folder / name, MD5, "labels", len(CLASSES), "cifar10") for name in FILES[split]]
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in batches]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels in batches]))
    return ImageSet("cifar10", split, images, labels, CLASSES)


def locate(root: Path) -> Path:
    """Return the folder with the batch files: `root` itself when they lie in it, otherwise the official sub-folder."""
    return root if root.name == FOLDER or (root / "test_batch").is_file() else root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the files are there."""
    return sums.status(locate(root), MD5, "cifar10")


def problems(root: Path, split: str) -> list[str]:
    """Name the files of a split that are missing or damaged."""
    return sums.faults(locate(root), FILES[split], MD5)


def read_batch(path: Path, md5: Mapping[str, str], key: str, classes: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one file of CIFAR-10 or CIFAR-100.

    Args:
        path: of the file.
        md5: the published sums, by the file's name.
        key: under which its labels are.
        classes: how many there are.
        name: the set's.

    Returns:
        Pixels [n, 3, 32, 32] uint8 and labels [n] int64.

    Raises:
        CodialError: the file is missing, damaged, or not what it should be.
    """
    sums.verify(path, md5, name)
    batch, again = pickles.load(path), sums.get(path.parent, name)
    try:
        pixels, labels = batch["data"], np.array([operator.index(label) for label in batch[key]], np.int64)
        whole = pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3 * SIDE * SIDE)
    except (AttributeError, KeyError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise CodialError(f"{path} is not a batch of {name} ({error!r}). {again}") from error
    if not whole or not ((labels >= 0) & (labels < classes)).all():
        raise CodialError(
            f"{path} is not a batch of {name}: expected uint8 [n, 3072] and n labels of 0 to {classes - 1}, got"
            f" {pixels.dtype} {list(pixels.shape)} and {len(labels)} labels. {again}"
        )
    return pixels.reshape(-1, 3, SIDE, SIDE), labels  # [n, 3072] -> [n, 3, 32, 32]
