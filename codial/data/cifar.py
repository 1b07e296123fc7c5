"""CIFAR-10 in its official python layout, `cifar-10-batches-py/`."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
GET = "codial data get cifar10"


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
    batches = [_read_batch(folder / name) for name in FILES[split]]
    images = torch.from_numpy(np.concatenate([pixels for pixels, _ in batches]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels in batches]))
    return ImageSet("cifar10", split, images, labels, CLASSES)


def locate(root: Path) -> Path:
    """Return the folder with the batch files: `root` itself when they lie in it, otherwise the official sub-folder."""
    return root if root.name == FOLDER or (root / "test_batch").is_file() else root / FOLDER


def download(root: Path) -> None:
    """Download CIFAR-10 (163 MiB) through torchvision, unless it is there and whole.

    Raises:
        CodialError: torchvision is missing or broken, or the download failed.
    """
    folder = locate(root)
    if all(_is_whole(folder / name) for name in MD5):
        return
    if folder.name != FOLDER:
        raise CodialError(
            f"{folder} holds a damaged CIFAR-10; rename it to {FOLDER} so that it can be downloaded again."
        )
    try:
        from torchvision.datasets import CIFAR10  # only here: reading works without torchvision

        CIFAR10(folder.parent, download=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise CodialError(
            f"CIFAR-10 could not be downloaded to {folder.parent}: {error}. Check the network and the disk, or unpack"
            f" https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz there yourself."
        ) from error


def status(root: Path) -> str:
    """Say in one line whether the files are there (their checksums are verified when they are read)."""
    folder = locate(root)
    missing = [name for name in MD5 if not (folder / name).is_file()]
    if not missing:
        return f"present in {folder}"
    return f"missing {'' if len(missing) == len(MD5) else missing[0] + ' '}in {folder}; get it with `{GET}`"


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one file: pixels [n, 3, 32, 32] uint8 and labels [n] int64."""
    batch = load_pickle(_verified(path), path)
    try:
        pixels, labels = batch["data"], np.asarray(batch["labels"], dtype=np.int64)
        whole = pixels.dtype == np.uint8 and pixels.shape == (len(labels), 3 * SIDE * SIDE)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CodialError(f"{path} is not a CIFAR-10 batch ({error!r}); get it again with `{GET}`.") from error
    if not whole or not ((labels >= 0) & (labels < len(CLASSES))).all():
        raise CodialError(
            f"{path} is not a CIFAR-10 batch: expected uint8 [n, 3072] and n labels of 0 to 9, got {pixels.dtype}"
            f" {list(pixels.shape)} and {len(labels)} labels; get it again with `{GET}`."
        )
    return pixels.reshape(-1, 3, SIDE, SIDE), labels  # [n, 3072] -> [n, 3, 32, 32]


def _verified(path: Path) -> bytes:
    if not path.is_file():
        raise CodialError(
            f"No CIFAR-10: {path} does not exist. Get it with `{GET}`, or say where it is (root=..., or CODIAL_DATA)."
        )
    content = path.read_bytes()
    got = _md5(content)
    if got != MD5[path.name]:
        raise CodialError(
            f"{path} is damaged: MD5 {got}, expected {MD5[path.name]}. Remove it and get it again with `{GET}`."
        )
    return content


def _is_whole(path: Path) -> bool:
    return path.is_file() and _md5(path.read_bytes()) == MD5[path.name]


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def load_pickle(content: bytes, path: Path) -> Any:
    """Unpickle arrays, lists, dicts, numbers and strings, and nothing else: no code can run.

    Raises:
        CodialError: the pickle is damaged, or asks for anything else.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise CodialError(f"{path} cannot be read safely: {error}; get it again with `{GET}`.") from error


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {  # what an array needs, under the names of Python 2's numpy and of today's
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows what an array needs, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no picture needs")
        return _ALLOWED[module, name]
