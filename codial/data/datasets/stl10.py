"""STL-10 in its official binary layout, `stl10_binary/`: few labeled images, many unlabeled ones."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codial.data.base import stratified_indices
from codial.data.catalog import find_entry
from codial.data.in_memory import ImageSet
from codial.data.io.checksums import find_problems, how_to_get, verify
from codial.errors import CodialError

SIDE = 96
COUNTS = {"train": 5_000, "test": 8_000, "unlabeled": 100_000}
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
MD5 = {  # of the official files, as in torchvision
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
}

_ENTRY = find_entry("stl10")
_IMAGE_BYTES = 3 * SIDE * SIDE
_CHUNK = 1024  # images transposed at a time


def read(root: Path, split: str, limit: int | None = None, seed: int = 0) -> ImageSet:
    """Read STL-10. With a limit only the sampled images are read; the MD5 of files that are read in full is verified.

    Args:
        root: The folder that contains `stl10_binary/`, or that folder itself.
        split: "train" (5,000 images), "test" (8,000) or "unlabeled" (100,000, 2.6 GiB; labels -1).
        limit: Maximum number of images, a random sample stratified by class.
        seed: Seed of that sample.

    Returns:
        The data set, 96 x 96, in the official order; labels 0 to 9 are the official 1 to 10.

    Raises:
        CodialError: A file is missing or damaged; the message names it.
    """
    folder = _ENTRY.locate(root)
    path = folder / f"{split}_X.bin"
    stored = _memory_map(path, COUNTS[split])
    labels = _labels(folder, split)
    sample = stratified_indices(labels, len(labels) if limit is None else limit, seed)
    if len(sample) == len(labels):
        verify(path, MD5, "stl10")
    images = np.empty((len(sample), 3, SIDE, SIDE), np.uint8)
    for start in range(0, len(sample), _CHUNK):
        chunk = stored[sample[start : start + _CHUNK].numpy()]
        images[start : start + _CHUNK] = chunk.transpose(0, 1, 3, 2)  # stored column by column: [n, 3, W, H]
    return ImageSet("stl10", split, torch.from_numpy(images), labels[sample], CLASSES)


def problems(root: Path, split: str) -> list[str]:
    """List the files of a split that are missing or damaged."""
    return find_problems(_ENTRY.locate(root), _ENTRY.required[split], MD5)


def _memory_map(path: Path, count: int) -> np.ndarray:
    """Map a file of images, [count, 3, W, H] uint8, without reading it."""
    if not path.is_file():
        raise CodialError(f"{path} does not exist. {how_to_get(path.parent, 'stl10')}")
    size = path.stat().st_size
    if size != count * _IMAGE_BYTES:
        raise CodialError(
            f"{path} is damaged: it has {size} bytes, expected {count * _IMAGE_BYTES} for {count} images."
            f" {how_to_get(path.parent, 'stl10')}"
        )
    return np.memmap(path, np.uint8, "r", shape=(count, 3, SIDE, SIDE))


def _labels(folder: Path, split: str) -> Tensor:
    """Return [N] int64: 0 to 9, or -1 for unlabeled images."""
    if split == "unlabeled":
        return torch.full((COUNTS[split],), -1)
    verify(folder / f"{split}_y.bin", MD5, "stl10")
    return torch.from_numpy(np.fromfile(folder / f"{split}_y.bin", np.uint8).astype(np.int64) - 1)
