"""The data sets that codial loads by name: title, splits, folder, and the module that reads each.

Nothing here imports torch, NumPy or Pillow, so that listing data sets is fast.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from codial.data.checks import unknown_name

PHOTOS_INSTALL = "pip install scikit-image scikit-learn"

_WNID = "n" + 8 * "[0-9]"  # a class folder of ImageNet, as a glob pattern


@dataclass(frozen=True)
class Entry:
    """A data set that has a name.

    Attributes:
        name: The name that `load_images` takes.
        title: One line about its content.
        module: The module that reads it, with `read(root, split, ...)` and `problems(root, split)`.
        splits: The splits that `load_images` takes; "test" stands for "val" where `required` lacks it.
        folder: The official folder, below the data root.
        required: For each split, glob patterns below the folder, each of which matches where the split is there.
        markers: Glob patterns; a root in which one matches is itself the data set's folder, whatever its name.
        image_size: Side in pixels where images have one size and are read into memory; None for image files.
        arguments: Further arguments for the module's functions.
        nested: Folders below it that may hold all of `required` instead, as archives of others unpack.
    """

    name: str
    title: str
    module: str
    splits: tuple[str, ...]
    folder: str
    required: Mapping[str, tuple[str, ...]]
    markers: tuple[str, ...] = ()
    image_size: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    nested: tuple[str, ...] = ()

    def locate(self, root: Path) -> Path:
        """Return the data set's folder: `root` itself if it is that folder, otherwise the official one below it."""
        name = Path(self.folder).name
        if root.name == name or any(any(root.glob(marker)) for marker in self.markers):
            return root
        return root / name if (root / name).is_dir() else root / self.folder

    def status(self, root: Path) -> str:
        """Return in one line whether the data set is present, with its splits, or how to get it."""
        if self.name == "photos":
            return _photos_status(root)
        folder = self.locate(root)
        places = [folder, *(folder / name for name in self.nested)]
        present = [
            split
            for split, patterns in self.required.items()
            if any(all(any(place.glob(pattern)) for pattern in patterns) for place in places)
        ]
        if present:
            return f"present in {folder}: {', '.join(present)}"
        return f"missing in {folder}; get it with `codial data get {self.name}`, or set CODIAL_DATA"


def find_entry(name: str) -> Entry:
    """Return the entry of a data set.

    Raises:
        CodialError: No data set has this name.
    """
    if name not in ENTRIES:
        raise unknown_name("data set", name, ENTRIES)
    return ENTRIES[name]


def photos_files(root: Path) -> list[Path]:
    """Return the files that may hold the decoded photographs of `photos`: in an existing root, and the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codial"
    return [folder / "photos" / "photos.safetensors" for folder in (root, cache) if folder == cache or root.is_dir()]


def _photos_status(root: Path) -> str:
    cached = [path for path in photos_files(root) if path.is_file()]
    if cached:
        return f"present in {cached[0]}"
    if find_spec("skimage") and find_spec("sklearn"):
        return "present in the packages scikit-image and scikit-learn"
    return f"missing; get it with `{PHOTOS_INSTALL}`"


def _voc(year: int, title: str, *splits: str) -> Entry:
    return Entry(
        f"voc{year}",
        title,
        "codial.data.datasets.voc",
        ("train", "val", "trainval", "test"),
        f"VOCdevkit/VOC{year}",
        {split: (f"ImageSets/Main/{split}.txt",) for split in splits},
        arguments={"year": year},
    )


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "photos",
            "patches of 8 color photographs, 64 x 64, 4,000 + 1,000 images; no download",
            "codial.data.datasets.photos",
            ("train", "test"),
            "photos",
            {},
            image_size=64,
        ),
        Entry(
            "cifar10",
            "CIFAR-10: 10 classes, 32 x 32, 50,000 + 10,000 images",
            "codial.data.datasets.cifar10",
            ("train", "test"),
            "cifar-10-batches-py",
            {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
            ("test_batch",),
            32,
        ),
        Entry(
            "cifar100",
            "CIFAR-100: 100 classes, 32 x 32, 50,000 + 10,000 images",
            "codial.data.datasets.cifar100",
            ("train", "test"),
            "cifar-100-python",
            {"train": ("train", "meta"), "test": ("test", "meta")},
            ("meta",),
            32,
        ),
        Entry(
            "stl10",
            "STL-10: 10 classes, 96 x 96, 5,000 + 8,000 labeled and 100,000 unlabeled images",
            "codial.data.datasets.stl10",
            ("train", "test", "unlabeled"),
            "stl10_binary",
            {
                "train": ("train_X.bin", "train_y.bin"),
                "test": ("test_X.bin", "test_y.bin"),
                "unlabeled": ("unlabeled_X.bin",),
            },
            ("test_X.bin",),
            96,
        ),
        Entry(
            "tiny-imagenet",
            "Tiny-ImageNet: 200 classes, 64 x 64, 100,000 + 10,000 images",
            "codial.data.datasets.tiny_imagenet",
            ("train", "val", "test", "unlabeled"),
            "tiny-imagenet-200",
            {"train": ("train",), "val": ("val",), "unlabeled": ("test/images",)},
            ("wnids.txt",),
        ),
        Entry(
            "imagenet",
            "ImageNet (ILSVRC 2012): 1,000 classes, 1,281,167 + 50,000 images",
            "codial.data.datasets.imagenet",
            ("train", "val", "test"),
            "imagenet",
            {"train": ("train",), "val": ("val",)},
            (f"train/{_WNID}", f"val/{_WNID}", "ILSVRC/Data/CLS-LOC"),
            nested=("ILSVRC/Data/CLS-LOC",),
        ),
        Entry(
            "places205",
            "Places205: 205 scene categories, 2,448,873 + 20,500 images",
            "codial.data.datasets.places205",
            ("train", "val", "test"),
            "places205",
            {split: (f"trainvalsplit_places205/{split}_places205.csv",) for split in ("train", "val")},
            ("trainvalsplit_places205",),
        ),
        Entry(
            "celeba",
            "CelebA: 202,599 aligned faces, 40 attributes",
            "codial.data.datasets.celeba",
            ("train", "val", "test"),
            "celeba",
            {split: ("list_attr_celeba.*", "list_eval_partition.*") for split in ("train", "val", "test")},
            ("list_attr_celeba.*",),
        ),
        _voc(2007, "PASCAL VOC 2007: 20 object classes with boxes and masks", "train", "val", "trainval", "test"),
        _voc(2012, "PASCAL VOC 2012: 20 object classes with boxes and masks", "train", "val", "trainval"),
    )
}
