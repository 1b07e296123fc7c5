import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from codial.data import cifar, describe, load_images
from codial.errors import CodialError

SEED = 5
COUNT = 12  # pictures a file
NAMES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def python2_pickle(rows: np.ndarray, labels: list[int]) -> bytes:
    """Write a batch opcode by opcode as Python 2 and its numpy did: protocol 2, byte strings, `numpy.core`."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    raw = rows.tobytes()
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    array += b"(" + number(1) + number(rows.shape[0]) + number(rows.shape[1]) + b"\x86" + dtype + b"\x89"
    array += b"T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    numbers = b"](" + b"".join(number(label) for label in labels) + b"e"
    return (
        b"\x80\x02}(" + text(b"labels") + numbers + text(b"data") + array + text(b"batch_label") + text(b"one") + b"u."
    )


def write(folder: Path, name: str, content: bytes, patch: pytest.MonkeyPatch) -> None:
    (folder / name).write_bytes(content)
    patch.setitem(cifar.MD5, name, hashlib.md5(content).hexdigest())


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A small CIFAR-10: the root, and what every file holds."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator, held = np.random.default_rng(SEED), {}
    for name in NAMES:
        rows = generator.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
        labels = generator.integers(0, 10, COUNT).tolist()
        write(folder, name, python2_pickle(rows, labels), monkeypatch)
        held[name] = rows, labels
    return tmp_path, held


def test_the_fake_is_a_pickle_that_python_reads(made):
    root, held = made
    batch = pickle.loads((root / "cifar-10-batches-py" / "test_batch").read_bytes(), encoding="latin1")
    assert np.array_equal(batch["data"], held["test_batch"][0])
    assert batch["labels"] == held["test_batch"][1]


@pytest.mark.parametrize(("split", "names"), [("train", NAMES[:5]), ("test", NAMES[5:])])
def test_pictures_and_labels_in_the_official_order(made, split, names):
    root, held = made
    images = load_images("cifar10", split, root=root)
    assert images.images.shape == (COUNT * len(names), 3, 32, 32)
    assert images.labels.tolist() == [label for name in names for label in held[name][1]]
    for index, row in enumerate(np.concatenate([held[name][0] for name in names])):
        red, green, blue = row[:1024], row[1024:2048], row[2048:]  # the official description: planes, row by row
        for plane, channel in zip((red, green, blue), images.images[index], strict=True):
            assert channel[3, 7] == plane[3 * 32 + 7]
            assert np.array_equal(channel.numpy().ravel(), plane)
    assert " ".join(images.classes) == "airplane automobile bird cat deer dog frog horse ship truck"


def test_root_may_be_the_folder_itself(made):
    root, _ = made
    images = load_images("cifar10", "test", root=root / "cifar-10-batches-py")
    (root / "cifar-10-batches-py").rename(root / "renamed")
    assert load_images("cifar10", "test", root=root / "renamed").fingerprint == images.fingerprint


def test_limit_and_native_size(made):
    root, _ = made
    assert len(load_images("cifar10", root=root, size=32, limit=20)) == 20
    with pytest.raises(CodialError, match="cifar10 is 32 pixels a side, not 64"):
        load_images("cifar10", root=root, size=64)


def test_a_damaged_file_is_named(made):
    root, _ = made
    path = root / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CodialError, match=r"data_batch_3 is damaged: MD5 .*`codial data get cifar10`"):
        load_images("cifar10", root=root)
    assert len(load_images("cifar10", "test", root=root)) == COUNT


def test_missing_files_name_the_place_and_the_command(made, tmp_path):
    root, _ = made
    with pytest.raises(CodialError, match=r"nowhere/cifar-10-batches-py/data_batch_1 .*`codial data get cifar10`"):
        load_images("cifar10", root=tmp_path / "nowhere")
    folder = root / "cifar-10-batches-py"
    assert describe("cifar10", root) == f"cifar10: present in {folder}"
    (folder / "data_batch_4").unlink()
    assert describe("cifar10", root).startswith(f"cifar10: missing data_batch_4 in {folder}; ")
    assert describe("cifar10", tmp_path / "nowhere").endswith("get it with `codial data get cifar10`")


class Harmful:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.faults("hostile file or setting")
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.mkdir, r"\.mkdir"), (eval, r"\.eval"), (np.load, r"\.load"), (getattr, r"\.getattr"), (Path, r"\.\w*Path")],
)
def test_a_pickle_that_would_run_something_is_refused(made, monkeypatch, function, named, protocol, tmp_path):
    root, _ = made
    content = pickle.dumps({"data": Harmful(function, str(tmp_path / "trap")), "labels": []}, protocol=protocol)
    write(root / "cifar-10-batches-py", "test_batch", content, monkeypatch)
    with pytest.raises(CodialError, match=rf"test_batch cannot be read safely: it asks for {'.*'}{named}"):
        load_images("cifar10", "test", root=root)
    assert not (tmp_path / "trap").exists()


def rows(count, dtype=np.uint8, width=3072):
    return np.zeros((count, width), dtype=dtype)


@pytest.mark.parametrize(
    "batch",
    [
        {"data": rows(2), "labels": [0, 10]},
        {"data": rows(2), "labels": [0, -1]},
        {"data": rows(2), "labels": [0]},
        {"data": rows(2), "labels": ["cat", "dog"]},
        {"data": rows(2, np.float32), "labels": [0, 1]},
        {"data": rows(2, width=3071), "labels": [0, 1]},
        {"data": [0, 1], "labels": [0, 1]},
        {"labels": [0, 1]},
        [0, 1],
    ],
)
def test_a_file_that_is_no_batch_is_refused(made, monkeypatch, batch):
    root, _ = made
    write(root / "cifar-10-batches-py", "test_batch", pickle.dumps(batch, protocol=4), monkeypatch)
    with pytest.raises(CodialError, match="test_batch is not a batch of cifar10"):
        load_images("cifar10", "test", root=root)


def test_a_cut_off_pickle_is_refused(made, monkeypatch):
    root, _ = made
    content = (root / "cifar-10-batches-py" / "test_batch").read_bytes()[:-500]
    write(root / "cifar-10-batches-py", "test_batch", content, monkeypatch)
    with pytest.raises(CodialError, match="test_batch cannot be read safely"):
        load_images("cifar10", "test", root=root)


def test_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    official = dict(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list)
    assert official == cifar.MD5


@pytest.mark.skipif("CODIAL_TEST_CIFAR" not in os.environ, reason="CODIAL_TEST_CIFAR names no real CIFAR-10")
@pytest.mark.parametrize(("split", "count"), [("train", 50_000), ("test", 10_000)])
def test_the_real_one_equals_torchvisions(split, count):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    root = os.environ["CODIAL_TEST_CIFAR"]
    images, reference = load_images("cifar10", split, root=root), datasets.CIFAR10(root, train=split == "train")
    assert len(images) == count
    assert torch.equal(images.images, torch.from_numpy(reference.data).permute(0, 3, 1, 2))
    assert images.labels.tolist() == reference.targets
    assert list(images.classes) == reference.classes
