"""STL-10 in its official binary layout, `stl10_binary/`: few labelled pictures and many without."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codial.data import sums
from codial.data.images import ImageSet
from codial.data.pictures import choose
from codial.errors import CodialError

FOLDER = "stl10_binary"
SIDE = 96
COUNTS = {"train": 5_000, "test": 8_000, "unlabeled": 100_000}
SPLITS = tuple(COUNTS)
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
NAMES = "class_names.txt"
MD5 = {  # of the official files, as torchvision lists them
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}
_BYTES = 3 * SIDE * SIDE  # of a picture
_PART = 1024  # pictures turned upright at a time


def read(root: Path, split: str, limit: int | None = None, seed: int = 0) -> ImageSet:
    """Read STL-10. Of a choice of pictures, only these are read; the checksum of a file read whole is verified.

    Args:
        root: the folder that holds `stl10_binary/`, or that folder itself.
        split: "train" (5,000 pictures), "test" (8,000) or "unlabeled" (100,000, 2.6 GiB; labels -1).
        limit: how many to choose at random, every class by its share.
        seed: of that choice.

    Returns:
        The set, 96 x 96, in the official order; classes 0 to 9 are the official 1 to 10.

    Raises:
        CodialError: a file is missing, damaged, or not what it should be; it is named.
    """
    folder = locate(root)
    stored, labels = _mapped(folder / f"{split}_X.bin", COUNTS[split]), _labels(folder, split)
    chosen = choose(labels, len(labels) if limit is None else limit, seed)
    if len(chosen) == len(labels):
        sums.verify(folder / f"{split}_X.bin", MD5, "stl10")
    images = np.empty((len(chosen), 3, SIDE, SIDE), np.uint8)
    for start in range(0, len(chosen), _PART):
        part = stored[chosen[start : start + _PART].numpy()]
        images[start : start + _PART] = part.transpose(0, 1, 3, 2)  # stored column by column: [n, 3, W, H]
    return ImageSet("stl10", split, torch.from_numpy(images), labels[chosen], _classes(folder))


def locate(root: Path) -> Path:
    """Return the folder with the binaries: `root` itself when they lie in it, otherwise the official sub-folder."""
    return root if root.name == FOLDER or (root / "test_X.bin").is_file() else root / FOLDER


def status(root: Path) -> str:
    """Say in one line whether the files are there."""
    return sums.status(locate(root), (*MD5, NAMES), "stl10")


def problems(root: Path, split: str) -> list[str]:
    """Name the files of a split that are missing or damaged."""
    folder = locate(root)
    found = sums.faults(folder, (name for name in MD5 if name.startswith(f"{split}_")), MD5)
    there = (folder / NAMES).is_file() or not folder.is_dir()
    return found if there else [*found, f"{folder / NAMES} is missing"]


def _mapped(path: Path, count: int) -> np.ndarray:
    """Map a file of pictures, [count, 3, W, H] uint8, without reading it."""
    if not path.is_file():
        raise CodialError(f"No stl10: {path} does not exist. {sums.get(path.parent, 'stl10')}")
    size = path.stat().st_size
    if size != count * _BYTES:
        raise CodialError(
            f"{path} is damaged: it has {size} bytes, expected {count * _BYTES} for {count} pictures."
            f" {sums.get(path.parent, 'stl10')}"
        )
    return np.memmap(path, np.uint8, "r", shape=(count, 3, SIDE, SIDE))


def _labels(folder: Path, split: str) -> Tensor:
    """Return [N] int64: 0 to 9, or -1 where there are none."""
    if split == "unlabeled":
        return torch.full((COUNTS[split],), -1)
    path = folder / f"{split}_y.bin"
    sums.verify(path, MD5, "stl10")
    labels = np.fromfile(path, np.uint8).astype(np.int64) - 1
    if len(labels) != COUNTS[split] or not ((labels >= 0) & (labels < len(CLASSES))).all():
        values = ", ".join(map(str, np.unique(labels + 1)))
        raise CodialError(
            f"{path} holds {len(labels)} labels of values {values}; expected {COUNTS[split]} of 1 to {len(CLASSES)}."
        )
    return torch.from_numpy(labels)


def _classes(folder: Path) -> tuple[str, ...]:
    path = folder / NAMES
    names = tuple(path.read_text("utf-8", "replace").split()) if path.is_file() else None
    if names != CLASSES:
        got = "does not exist" if names is None else f"names {', '.join(names) or 'nothing'}"
        raise CodialError(f"{path} {got}; expected {', '.join(CLASSES)}. {sums.get(folder, 'stl10')}")
    return CLASSES
