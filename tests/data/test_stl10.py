import hashlib
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import codial
from codial.config import ModelConfig
from codial.data import load_images, stl10
from codial.data.registry import problems
from codial.errors import CodialError
from codial.models import AlexNet
from codial.monitors import measure

COUNTS = {"train": 20, "test": 10, "unlabeled": 30}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A small STL-10: the root, and its folder."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    generator = np.random.default_rng(3)
    monkeypatch.setattr(stl10, "COUNTS", COUNTS)
    for split, count in COUNTS.items():
        write(folder / f"{split}_X.bin", generator.integers(0, 256, count * 27648, np.uint8).tobytes(), monkeypatch)
        if split != "unlabeled":
            write(folder / f"{split}_y.bin", bytes(1 + i % 10 for i in range(count)), monkeypatch)
    (folder / "class_names.txt").write_text("\n".join(stl10.CLASSES) + "\n")
    return tmp_path


def write(path: Path, content: bytes, patch: pytest.MonkeyPatch) -> None:
    path.write_bytes(content)
    patch.setitem(stl10.MD5, path.name, hashlib.md5(content).hexdigest())


@pytest.mark.parametrize("split", COUNTS)
def test_pictures_equal_torchvisions(made, split, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    reference = datasets.STL10(made, split)
    images = load_images("stl10", split, root=made)
    assert torch.equal(images.images, torch.from_numpy(reference.data.copy()))
    assert images.labels.tolist() == reference.labels.tolist()
    assert list(images.classes) == reference.classes


def test_pixels_are_stored_column_by_column(made):
    raw = (made / "stl10_binary" / "train_X.bin").read_bytes()
    images = load_images("stl10", root=made)
    channel, row, column = 1, 7, 60
    assert images.images[2, channel, row, column] == raw[2 * 27648 + channel * 9216 + column * 96 + row]


def test_a_limit_is_the_subset_and_reads_no_more(made, monkeypatch):
    whole = load_images("stl10", "unlabeled", root=made).subset(5, seed=2)
    monkeypatch.setattr(stl10.sums, "md5", lambda path: pytest.fail(f"{path} was read whole"))
    part = load_images("stl10", "unlabeled", root=made, limit=5, seed=2)
    assert part.fingerprint == whole.fingerprint
    assert not part.labelled


def test_missing_truncated_and_damaged_files_are_named(made):
    path = made / "stl10_binary" / "test_X.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(CodialError, match=r"test_X.bin is damaged: it has 276479 bytes, expected 276480 for 10"):
        load_images("stl10", "test", root=made, limit=3)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(CodialError, match=r"test_X.bin is damaged: MD5 .*`codial data get stl10`"):
        load_images("stl10", "test", root=made)
    assert [line.split(":")[0] for line in problems("stl10", "test", made)] == [f"{path} is damaged"]
    path.unlink()
    with pytest.raises(CodialError, match=r"test_X.bin does not exist. .*`codial data get stl10`"):
        load_images("stl10", "test", root=made)
    assert problems("stl10", "test", made) == [f"{path} is missing"]
    assert problems("stl10", "train", made) == []


@pytest.mark.parametrize(("labels", "said"), [([0] * 10, "values 0"), ([11] * 10, "values 11"), ([1] * 9, "9 labels")])
def test_labels_out_of_range_are_named(made, monkeypatch, labels, said):
    write(made / "stl10_binary" / "test_y.bin", bytes(labels), monkeypatch)
    with pytest.raises(CodialError, match=rf"test_y.bin holds .*{said}.*; expected 10 of 1 to 10"):
        load_images("stl10", "test", root=made)


def test_other_class_names_are_refused(made):
    (made / "stl10_binary" / "class_names.txt").write_text("cat\ndog\n")
    with pytest.raises(CodialError, match=r"class_names.txt names cat, dog; expected airplane"):
        load_images("stl10", root=made)


def test_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    assert dict(datasets.STL10.train_list + datasets.STL10.test_list) == stl10.MD5


@pytest.mark.skipif("CODIAL_TEST_STL10" not in os.environ, reason="CODIAL_TEST_STL10 names no real STL-10")
def test_the_real_one():
    root = os.environ["CODIAL_TEST_STL10"]
    assert len(load_images("stl10", "test", root=root)) == 8_000
    assert len(load_images("stl10", "unlabeled", root=root, limit=100)) == 100


def test_what_needs_labels_refuses_the_unlabelled_split(made):
    sets = {split: load_images("stl10", split, root=made) for split in COUNTS}
    trunk = AlexNet(ModelConfig(width=0.05), 16).eval()
    for train, test in (("unlabeled", "test"), ("train", "unlabeled")):
        with pytest.raises(CodialError, match=r"stl10/unlabeled: 30 pictures .* has no labels; a probe needs them"):
            codial.probe(trunk, sets[train], sets[test])
    found = codial.retrieve(trunk, sets["unlabeled"], sets["test"], k=2)
    assert found.indices.shape == (len(sets["test"]), 2)
    assert math.isnan(found.precision)
    assert set(measure(trunk, sets["train"], 20)) == {"feature_std", "rankme", "knn", "probe"}
    assert set(measure(trunk, sets["unlabeled"], 30)) == {"feature_std", "rankme"}
