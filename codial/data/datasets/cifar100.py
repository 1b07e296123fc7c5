"""CIFAR-100 in its official Python layout, `cifar-100-python/`, with its 100 fine classes."""

from pathlib import Path

import torch

from codial.data.catalog import find_entry
from codial.data.in_memory import ImageSet
from codial.data.io.checksums import find_problems, load_pickle

MD5 = {  # of the official files, as in torchvision
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}

_ENTRY = find_entry("cifar100")


def read(root: Path, split: str, limit: int | None = None, seed: int = 0) -> ImageSet:
    """Read CIFAR-100. The MD5 of every file is verified each time.

    Args:
        root: The folder that contains `cifar-100-python/`, or that folder itself.
        split: "train" (50,000 images) or "test" (10,000).
        limit: Maximum number of images, a random sample stratified by class.
        seed: Seed of that sample.

    Returns:
        The data set, 32 x 32, in the official order.

    Raises:
        CodialError: A file is missing, or its MD5 is not the official one.
    """
    folder = _ENTRY.locate(root)
    batch, meta = (load_pickle(folder / name, MD5, "cifar100") for name in (split, "meta"))
    pixels = torch.from_numpy(batch["data"].reshape(-1, 3, 32, 32))  # from [N, 3072]
    labels = torch.tensor(batch["fine_labels"])
    images = ImageSet("cifar100", split, pixels, labels, tuple(meta["fine_label_names"]))
    return images if limit is None else images.subset(limit, seed)


def problems(root: Path, split: str) -> list[str]:
    """List the files of a split that are missing or damaged."""
    return find_problems(_ENTRY.locate(root), _ENTRY.required[split], MD5)
