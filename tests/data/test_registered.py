"""Data sets of users' own: registered in a few lines, then used like codial's; mistakes name the class and the mend."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import codial
from codial.cli.main import main
from codial.data import SETS, Dataset, ImageSet, data_sets, describe, from_arrays, load_images, register
from codial.data.registered import DATASETS
from codial.errors import CodialError
from codial.evaluate import ProbeConfig


@pytest.fixture(autouse=True)
def unregister():
    """Leave no data set of a test behind."""
    before = dict(DATASETS._classes)
    yield
    DATASETS._classes.clear()
    DATASETS._classes.update(before)


@pytest.fixture
def pets(photos):
    """A registered data set of 24 training and 16 test images of eight classes."""

    @register("pets")
    class Pets:
        splits = ("train", "val")

        def read(self, split):
            images = photos["train"].subset(24) if split == "train" else photos["test"].subset(16)
            return from_arrays(images.images, images.labels, images.classes)

    return Pets


def test_a_registered_set_is_read_like_a_named_one(pets, photos):
    images = load_images("pets")
    assert isinstance(images, ImageSet)
    assert (images.name, images.split, len(images)) == ("pets", "train", 24)
    assert torch.equal(images.images, photos["train"].subset(24).images)
    assert load_images("pets", "test").split == "val"
    limited = load_images("pets", limit=8, seed=5)
    assert torch.equal(limited.images, images.subset(8, seed=5).images)
    assert limited.labels.bincount().tolist() == [1] * 8
    assert data_sets() == (*SETS, "pets")
    assert describe("pets").startswith("pets: registered by ")


def test_pretrain_probe_retrieve_and_the_command_line(pets, tiny, tmp_path, capsys):
    run = codial.pretrain(replace(tiny, data=replace(tiny.data, source="pets")), tmp_path / "run", progress=False)
    assert run.provenance["images"]["name"] == "pets"
    train, test = load_images("pets"), load_images("pets", "test")
    report = codial.probe(run, train, test, ProbeConfig(epochs=1), progress=False)
    assert report.train.startswith("pets/train 24 ")
    assert report.test.startswith("pets/val 16 ")
    codial.retrieve(run, train, test, progress=False)
    assert main(["data", "list"]) == 0
    assert "\npets: registered by " in capsys.readouterr().out
    assert main(["data", "check", "pets"]) == 0
    out = capsys.readouterr().out
    assert "pets/train: 24 images" in out
    assert "pets/val: 16 images" in out
    with pytest.raises(CodialError, match=r"No split of pets 'all'\..* Expected one of: train, val"):
        load_images("pets", "all")


def test_the_image_picker_offers_it(pets, few):
    from codial.widgets.image_picker import ImagePicker

    picker = ImagePicker(few, 32, lambda action, _: action())
    assert "pets" in picker.controls["source"].options
    picker.select("pets", 23)
    assert torch.equal(picker.image, load_images("pets").images[23])


def test_options_reach_a_reader_that_takes_them(tmp_path):
    given = []

    @register("mine")
    class Mine:
        splits = ("train",)

        def read(self, split, root, size, seed=0):
            given.append((split, root, size, seed))
            return from_arrays(torch.zeros(4, 3, size, size, dtype=torch.uint8))

    @register("greedy")
    class Greedy:
        splits = ("train",)

        def read(self, split, **options):
            given.append(options)
            return from_arrays(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))

    assert load_images("mine", root=tmp_path, size=16, limit=2, seed=3).image_size == (16, 16)
    assert len(load_images("greedy", root=tmp_path, strict=True, limit=3)) == 3
    assert given[0] == ("train", tmp_path, 16, 3)
    options = {"root": tmp_path, "size": None, "limit": 3, "seed": 0, "strict": True, "storage": "auto"}
    assert given[1] == options


def test_images_may_stay_on_disk(tmp_path, photos):
    from PIL import Image

    for number, image in enumerate(photos["train"].images[:3]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")

    @register("files")
    class Files:
        splits = ("train",)

        def read(self, split, size=None, storage="auto"):
            return load_images(tmp_path, "all", size=size, storage=storage)

    images = load_images("files", size=64, storage="files")
    assert (type(images).__name__, images.name, images.split) == ("ImageFiles", "files", "train")
    assert torch.equal(images.batch(range(3)), photos["train"].images[:3])


def test_a_class_may_be_registered_again_but_not_another(pets):
    register("pets")(pets)
    with pytest.raises(CodialError, match=r"name 'pets' is taken by .*Pets; register .*Other under another"):

        @register("pets")
        class Other:
            splits = ("train",)

            def read(self, split):
                """Never called."""


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("cifar10", {}, "'cifar10' is taken by codial's own; register .*Mine under another name"),
        ("My-Set", {}, "invalid; expected lower-case letters"),
        ("mine", {"read": None}, r"Data set 'mine': .*Mine has no method read\(self, split\)"),
        ("mine", {"splits": "train"}, r"Mine.splits is 'train'; expected a tuple of distinct names"),
        ("mine", {"splits": ()}, r"Mine.splits is \(\); expected a tuple"),
        ("mine", {"splits": ("a", "a")}, "expected a tuple of distinct names"),
        ("mine", {"splits": (1,)}, "expected a tuple of distinct names"),
    ],
)
def test_an_unsuitable_class_is_refused(name, attributes, message):
    suitable = {"splits": ("train",), "read": lambda self, split: None}
    with pytest.raises(CodialError, match=message):
        register(name)(type("Mine", (), suitable | attributes))
    assert name not in DATASETS.names()


class Odd(Dataset):
    """A data set with a fault."""

    name, split, classes, tags, skipped, image_size, fingerprint = "odd", "train", ("a",), None, (), (8, 8), "0" * 16

    def __init__(self, dtype=torch.uint8, label=0):
        self.dtype = dtype
        self.labels = torch.tensor([label])

    def batch(self, indices):
        return torch.zeros(len(indices), 3, 8, 8, dtype=self.dtype)

    def _select(self, indices):
        return self


class NoLabels(Odd):
    """A data set without labels."""

    def __init__(self):
        """Set nothing."""


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda: None, r"returned NoneType; expected an ImageSet, as codial.data.from_arrays"),
        (lambda: (torch.zeros(1), [0]), "returned tuple; expected an ImageSet"),
        (lambda: [][0], "failed. IndexError: list index out of range"),
        (lambda: from_arrays(torch.zeros(2, 8)), r"failed. images is torch.float32 \[2, 8\]; expected uint8"),
        (lambda: from_arrays(torch.zeros(2, 3, 8, 8), [0, 7], ["a"]), "failed. labels run from 0 to 7"),
        (lambda: from_arrays(torch.zeros(0, 3, 8, 8), []), "invalid data set: there is no image"),
        (
            lambda: Odd(torch.float32),
            r"invalid data set: a batch is torch.float32 \[1, 3, 8, 8\]; expected torch.uint8",
        ),
        (lambda: Odd(label=3), "invalid data set: labels run from 3 to 3"),
        (NoLabels, "invalid data set: AttributeError: .*labels"),
    ],
)
def test_what_a_reader_returns_is_checked(result, message):
    @register("mine")
    class Mine:
        splits = ("train",)

        def read(self, split):
            return result()

    with pytest.raises(CodialError, match=rf"^Data set 'mine': .*Mine\.read\('train'\) .*{message}"):
        load_images("mine")


def test_a_size_or_storage_that_a_reader_does_not_have_is_refused(pets):
    with pytest.raises(CodialError, match="returned images of 64 x 64 pixels, not 32 x 32; leave size out"):
        load_images("pets", size=32)
    assert load_images("pets", size=64).image_size == (64, 64)
    with pytest.raises(CodialError, match='returned images in memory; storage="files" is for image files'):
        load_images("pets", storage="files")


def test_a_folder_of_the_same_name_is_refused(pets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pets").mkdir()
    with pytest.raises(CodialError, match=r"'pets' is a registered data set and a folder; write \./pets for"):
        load_images("pets")
    with pytest.raises(CodialError, match="No image in pets"):
        load_images("./pets")


PLUGIN = """
import torch
import codial


@codial.data.register("noise")
class Noise:
    splits = ("train", "test")

    def read(self, split):
        seed = torch.Generator().manual_seed(len(split))
        images = torch.randint(256, (24, 3, 32, 32), generator=seed, dtype=torch.uint8)
        return codial.data.from_arrays(images, torch.arange(24) % 2, ["even", "odd"])
"""


def test_a_run_is_resumed_only_where_its_data_set_is_registered(tiny, tmp_path):
    """In processes of their own, with the data set's file and without it."""
    (tmp_path / "noise.py").write_text(PLUGIN)
    changes = [part for key in ("views.size=32", "model.width=0.1", "train.batch=8") for part in ("--set", key)]
    pretrain = ["pretrain", "rotnet/photos", "--quiet", "--device", "cpu", "--out", "run", *changes]
    pretrain += ["--set", "data.source=noise", "--set", "data.limit=16", "--set", "train.epochs=1"]
    session = """
import json, sys
from codial.cli.main import main
print([main(arguments) for arguments in json.loads(sys.argv[1])])
"""

    def call(*commands):
        code = [sys.executable, "-c", session, json.dumps(commands)]
        return subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, timeout=100)

    unknown = call(pretrain)
    assert "No data set or folder 'noise'" in unknown.stderr
    assert "must be registered first: run its cell, pass its file by `codial --plugin FILE`" in unknown.stderr
    plugin = ["--plugin", "noise.py"]
    done = call([*plugin, *pretrain], [*plugin, "probe", "run", "--quiet", "--device", "cpu", "--epochs", "1"])
    assert done.stdout.endswith("[0, 0]\n"), done.stdout + done.stderr
    assert (tmp_path / "run/evaluations/probe-noise.json").is_file()
