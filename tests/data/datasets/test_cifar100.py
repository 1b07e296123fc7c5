import hashlib
import pickle

import numpy as np
import pytest
import torch

from codial.data import describe, load_images
from codial.data.datasets import cifar100
from codial.errors import CodialError

NAMES = [f"class{number}" for number in range(100)]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small CIFAR-100 with its own checksums: the data root, and the content of each file."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    generator = np.random.default_rng(4)
    contents = {"meta": {"fine_label_names": NAMES, "coarse_label_names": []}}
    for split in ("train", "test"):
        rows = generator.integers(0, 256, (7, 3072), dtype=np.uint8)
        contents[split] = {"data": rows, "fine_labels": [0, 99, 5, 5, 7, 50, 1], "coarse_labels": [0] * 7}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        monkeypatch.setitem(cifar100.MD5, name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    return tmp_path, contents


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_and_fine_labels(small, split):
    root, contents = small
    images = load_images("cifar100", split, root=root)
    assert torch.equal(images.images, torch.from_numpy(contents[split]["data"]).view(7, 3, 32, 32))
    assert images.labels.tolist() == contents[split]["fine_labels"]
    assert images.classes == tuple(NAMES)
    assert load_images("cifar100", split, root=root / "cifar-100-python").fingerprint == images.fingerprint


def test_missing_and_damaged_files_are_named(small):
    root, _ = small
    folder = root / "cifar-100-python"
    (folder / "train").write_bytes((folder / "train").read_bytes()[:-1])
    with pytest.raises(CodialError, match=r"cifar-100-python/train is damaged: .*`codial data get cifar100`"):
        load_images("cifar100", root=root)
    (folder / "meta").unlink()
    with pytest.raises(CodialError, match=r"cifar-100-python/meta does not exist"):
        load_images("cifar100", "test", root=root)
    assert describe("cifar100", root).startswith(f"cifar100: missing in {folder}; ")


def test_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    official = datasets.CIFAR100
    meta = [official.meta["filename"], official.meta["md5"]]
    assert dict([*official.train_list, *official.test_list, meta]) == cifar100.MD5
