"""CIFAR-10 in its official Python layout, `cifar-10-batches-py/`."""

from pathlib import Path

import numpy as np
import torch

from codial.data.catalog import find_entry
from codial.data.in_memory import ImageSet
from codial.data.io.checksums import find_problems, load_pickle

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MD5 = {  # of the official files, as in torchvision
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

_ENTRY = find_entry("cifar10")


def read(root: Path, split: str, limit: int | None = None, seed: int = 0) -> ImageSet:
    """Read CIFAR-10. The MD5 of every file is verified each time.

    Args:
        root: The folder that contains `cifar-10-batches-py/`, or that folder itself.
        split: "train" (50,000 images) or "test" (10,000).
        limit: Maximum number of images, a random sample stratified by class.
        seed: Seed of that sample.

    Returns:
        The data set, 32 x 32, in the official order.

    Raises:
        CodialError: A file is missing, or its MD5 is not the official one.
    """
    folder = _ENTRY.locate(root)
    batches = [load_pickle(folder / name, MD5, "cifar10") for name in _ENTRY.required[split]]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)  # from [N, 3072]
    labels = torch.tensor([label for batch in batches for label in batch["labels"]])
    images = ImageSet("cifar10", split, torch.from_numpy(pixels), labels, CLASSES)
    return images if limit is None else images.subset(limit, seed)


def problems(root: Path, split: str) -> list[str]:
    """List the files of a split that are missing or damaged."""
    return find_problems(_ENTRY.locate(root), _ENTRY.required[split], MD5)
