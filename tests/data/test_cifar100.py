import hashlib
import pickle

import numpy as np
import pytest
import torch

from codial.data import cifar100, describe, load_images
from codial.errors import CodialError

NAMES = [f"class{number}" for number in range(100)]


def write(folder, name, content, patch):
    (folder / name).write_bytes(content)
    patch.setitem(cifar100.MD5, name, hashlib.md5(content).hexdigest())


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A small CIFAR-100: the root, and what each file holds."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    generator, held = np.random.default_rng(4), {}
    for split in ("train", "test"):
        rows = generator.integers(0, 256, (7, 3072), dtype=np.uint8)
        held[split] = {"data": rows, "fine_labels": [0, 99, 5, 5, 7, 50, 1], "coarse_labels": [0] * 7}
        write(folder, split, pickle.dumps(held[split], protocol=4), monkeypatch)
    write(folder, "meta", pickle.dumps({"fine_label_names": NAMES, "coarse_label_names": []}), monkeypatch)
    return tmp_path, held


@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_and_fine_labels(made, split):
    root, held = made
    images = load_images("cifar100", split, root=root)
    assert torch.equal(images.images, torch.from_numpy(held[split]["data"]).view(7, 3, 32, 32))
    assert images.labels.tolist() == held[split]["fine_labels"]
    assert images.classes == tuple(NAMES)
    assert load_images("cifar100", split, root=root / "cifar-100-python").fingerprint == images.fingerprint


def test_missing_and_damaged_files_are_named(made, monkeypatch):
    root, held = made
    folder = root / "cifar-100-python"
    (folder / "train").write_bytes((folder / "train").read_bytes()[:-1])
    with pytest.raises(CodialError, match=r"cifar-100-python/train is damaged: MD5 .*`codial data get cifar100`"):
        load_images("cifar100", root=root)
    write(folder, "test", pickle.dumps(held["test"] | {"fine_labels": [100] * 7}), monkeypatch)
    with pytest.raises(CodialError, match=r"test is not a batch of cifar100: .* labels of 0 to 99"):
        load_images("cifar100", "test", root=root)
    write(folder, "meta", pickle.dumps({"fine_label_names": NAMES[:99]}), monkeypatch)
    write(folder, "test", pickle.dumps(held["test"]), monkeypatch)
    with pytest.raises(CodialError, match=r"meta does not hold the names of 100 classes"):
        load_images("cifar100", "test", root=root)
    (folder / "meta").unlink()
    with pytest.raises(CodialError, match=r"cifar-100-python/meta does not exist"):
        load_images("cifar100", "test", root=root)
    assert describe("cifar100", root).startswith(f"cifar100: missing meta in {folder}; ")


def test_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    known = datasets.CIFAR100
    assert dict([*known.train_list, *known.test_list, [known.meta["filename"], known.meta["md5"]]]) == cifar100.MD5
