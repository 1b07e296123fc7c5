import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import codial
from codial.config import ModelConfig
from codial.data import load_images
from codial.data.datasets import stl10
from codial.data.registry import problems
from codial.errors import CodialError
from codial.models import AlexNet
from codial.training.monitors import feature_monitors

COUNTS = {"train": 20, "test": 10, "unlabeled": 30}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The data root of a small STL-10 with its own checksums."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    generator = np.random.default_rng(3)
    monkeypatch.setattr(stl10, "COUNTS", COUNTS)
    for split, count in COUNTS.items():
        write(folder / f"{split}_X.bin", generator.integers(0, 256, count * 27648, np.uint8).tobytes(), monkeypatch)
        if split != "unlabeled":
            write(folder / f"{split}_y.bin", bytes(1 + i % 10 for i in range(count)), monkeypatch)
    (folder / "class_names.txt").write_text("\n".join(stl10.CLASSES) + "\n")  # torchvision reads it
    return tmp_path


def write(path: Path, content: bytes, patch: pytest.MonkeyPatch) -> None:
    path.write_bytes(content)
    patch.setitem(stl10.MD5, path.name, hashlib.md5(content).hexdigest())


@pytest.mark.parametrize("split", COUNTS)
def test_images_equal_torchvisions(small, split, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    reference = datasets.STL10(small, split)
    images = load_images("stl10", split, root=small)
    assert torch.equal(images.images, torch.from_numpy(reference.data.copy()))
    assert images.labels.tolist() == reference.labels.tolist()
    assert list(images.classes) == reference.classes


def test_pixels_are_stored_column_by_column(small):
    raw = (small / "stl10_binary" / "train_X.bin").read_bytes()
    images = load_images("stl10", root=small)
    channel, row, column = 1, 7, 60
    assert images.images[2, channel, row, column] == raw[2 * 27648 + channel * 9216 + column * 96 + row]


def test_a_limit_is_the_subset_and_reads_only_it(small, monkeypatch):
    expected = load_images("stl10", "unlabeled", root=small).subset(5, seed=2)
    monkeypatch.setattr(stl10, "verify", lambda path, *_: pytest.fail(f"{path} was read in full"))
    part = load_images("stl10", "unlabeled", root=small, limit=5, seed=2)
    assert part.fingerprint == expected.fingerprint
    assert not part.labeled


def test_missing_truncated_and_damaged_files_are_named(small):
    path = small / "stl10_binary" / "test_X.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CodialError, match=r"test_X.bin is damaged: it has 276479 bytes, expected 276480 for 10"):
        load_images("stl10", "test", root=small, limit=3)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(CodialError, match=r"test_X.bin is damaged: its MD5 .*`codial data get stl10`"):
        load_images("stl10", "test", root=small)
    assert [line.split(":")[0] for line in problems("stl10", "test", small)] == [f"{path} is damaged"]
    path.unlink()
    with pytest.raises(CodialError, match=r"test_X.bin does not exist. .*`codial data get stl10`"):
        load_images("stl10", "test", root=small)
    assert problems("stl10", "test", small) == [f"{path} is missing"]
    assert problems("stl10", "train", small) == []


def test_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    assert dict(datasets.STL10.train_list + datasets.STL10.test_list) == stl10.MD5


def test_the_official_set(official):
    root = official("stl10")
    assert len(load_images("stl10", "test", root=root)) == 8_000
    assert len(load_images("stl10", "unlabeled", root=root, limit=100)) == 100


def test_evaluations_that_need_labels_refuse_the_unlabeled_split(small):
    sets = {split: load_images("stl10", split, root=small) for split in COUNTS}
    backbone = AlexNet(ModelConfig(width=0.05), 16).eval()
    for train, test in (("unlabeled", "test"), ("train", "unlabeled")):
        with pytest.raises(CodialError, match=r"stl10/unlabeled: 30 images .* has no labels; a probe needs them"):
            codial.probe(backbone, sets[train], sets[test])
    result = codial.retrieve(backbone, sets["unlabeled"], sets["test"], k=2)
    assert result.indices.shape == (len(sets["test"]), 2)
    assert math.isnan(result.precision)
    assert set(feature_monitors(backbone, sets["train"], 20)) == {"feature_std", "rankme", "knn", "probe"}
    assert set(feature_monitors(backbone, sets["unlabeled"], 30)) == {"feature_std", "rankme"}
