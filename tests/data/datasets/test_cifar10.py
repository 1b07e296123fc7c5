import hashlib
import pickle

import numpy as np
import pytest
import torch

from codial.data import describe, load_images
from codial.data.datasets import cifar10
from codial.data.registry import problems
from codial.errors import CodialError

SEED = 5
COUNT = 12  # images per file
NAMES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small CIFAR-10 with its own checksums: the data root, and the content of each file."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator, batches = np.random.default_rng(SEED), {}
    for name in NAMES:
        rows = generator.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
        batches[name] = {"data": rows, "labels": generator.integers(0, 10, COUNT).tolist()}
        (folder / name).write_bytes(pickle.dumps(batches[name]))
        monkeypatch.setitem(cifar10.MD5, name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    return tmp_path, batches


@pytest.mark.parametrize(("split", "names"), [("train", NAMES[:5]), ("test", NAMES[5:])])
def test_images_and_labels_in_the_official_order(small, split, names):
    root, batches = small
    images = load_images("cifar10", split, root=root)
    assert images.images.shape == (COUNT * len(names), 3, 32, 32)
    assert images.labels.tolist() == [label for name in names for label in batches[name]["labels"]]
    for index, row in enumerate(np.concatenate([batches[name]["data"] for name in names])):
        red, green, blue = row[:1024], row[1024:2048], row[2048:]  # as documented: channels, row by row
        for values, channel in zip((red, green, blue), images.images[index], strict=True):
            assert channel[3, 7] == values[3 * 32 + 7]
            assert np.array_equal(channel.numpy().ravel(), values)
    assert " ".join(images.classes) == "airplane automobile bird cat deer dog frog horse ship truck"


def test_root_may_be_the_folder_itself(small):
    root, _ = small
    images = load_images("cifar10", "test", root=root / "cifar-10-batches-py")
    (root / "cifar-10-batches-py").rename(root / "renamed")
    assert load_images("cifar10", "test", root=root / "renamed").fingerprint == images.fingerprint


def test_limit_and_native_size(small):
    root, _ = small
    assert len(load_images("cifar10", root=root, size=32, limit=20)) == 20
    with pytest.raises(CodialError, match="Images of cifar10 are 32 pixels a side, not 64"):
        load_images("cifar10", root=root, size=64)


def test_a_damaged_file_is_named(small):
    root, _ = small
    path = root / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CodialError, match=r"data_batch_3 is damaged: its MD5 .*`codial data get cifar10`"):
        load_images("cifar10", root=root)
    assert len(load_images("cifar10", "test", root=root)) == COUNT


def test_missing_files_are_named(small, tmp_path):
    root, _ = small
    with pytest.raises(CodialError, match=r"nowhere/cifar-10-batches-py/data_batch_1 .*`codial data get cifar10`"):
        load_images("cifar10", root=tmp_path / "nowhere")
    folder = root / "cifar-10-batches-py"
    assert describe("cifar10", root) == f"cifar10: present in {folder}: train, test"
    (folder / "data_batch_4").unlink()
    assert describe("cifar10", root) == f"cifar10: present in {folder}: test"
    assert problems("cifar10", "train", root) == [f"{folder}/data_batch_4 is missing"]
    assert "get it with `codial data get cifar10`" in describe("cifar10", tmp_path / "nowhere")


def test_other_layouts_are_named_with_the_mend(tmp_path):
    (tmp_path / "cifar10" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(CodialError, match=rf"{tmp_path}/cifar10 holds folders of images instead: .*data\.source="):
        load_images("cifar10", root=tmp_path)
    (tmp_path / "cifar10" / "train" / "cat").rmdir()
    (tmp_path / "cifar10" / "train").rmdir()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    with pytest.raises(CodialError, match=r"cifar-10-batches-bin is the binary version, .* get the Python version"):
        load_images("cifar10", root=tmp_path)


def test_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    assert dict(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list) == cifar10.MD5


@pytest.mark.parametrize(("split", "count"), [("train", 50_000), ("test", 10_000)])
def test_the_official_set_equals_torchvisions(official, split, count):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    root = official("cifar10")
    images, reference = load_images("cifar10", split, root=root), datasets.CIFAR10(root, train=split == "train")
    assert len(images) == count
    assert torch.equal(images.images, torch.from_numpy(reference.data).permute(0, 3, 1, 2))
    assert images.labels.tolist() == reference.targets
    assert list(images.classes) == reference.classes
