import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codial.data import describe, load_images
from codial.data.datasets import imagenet
from codial.errors import CodialError

WORDS = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane"}
NUMBERS = {"n03126707": 1, "n01440764": 2, "n02012849": 3}  # the kit's own, in another order
TRUTH = [2, 1, 3, 2]
TRUTH_FILE = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
META_FILE = "ILSVRC2012_devkit_t12/data/meta.mat"


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "JPEG")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small ImageNet in torchvision's layout."""
    folder = tmp_path / "imagenet"
    for wnid in reversed(WORDS):
        for number in (10026, 9):
            image(folder / "train" / wnid / f"{wnid}_{number}.JPEG")
        image(folder / "val" / wnid / f"ILSVRC2012_val_0000000{NUMBERS[wnid]}.JPEG")
    return folder


def add_devkit(folder: Path, truth: str = "".join(f"{number}\n" for number in TRUTH)) -> None:
    """Write meta.mat with the official fields; the last synset is not a class."""
    scipy_io = pytest.importorskip("scipy.io")
    rows = sorted((number, wnid, WORDS[wnid], "a gloss", 0.0) for wnid, number in NUMBERS.items())
    rows.append((4, "n00001740", "entity", "a gloss", 3.0))
    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    synsets = np.array(rows, dtype=[(name, object) for name in names]).reshape(-1, 1)
    (folder / META_FILE).parent.mkdir(parents=True)
    scipy_io.savemat(folder / META_FILE, {"synsets": synsets})
    (folder / TRUTH_FILE).write_text(truth)


def flatten(folder: Path) -> None:
    for path in sorted((folder / "val").rglob("*.JPEG")):
        path.rename(folder / "val" / path.name)
        path.parent.rmdir()


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_and_labels_are_those_of_torchvision(folder, split):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    (folder / split / "notes").mkdir()  # no class
    images = imagenet.read(folder.parent, split, size=8, storage="files")
    (folder / split / "notes").rmdir()
    expected = datasets.ImageFolder(str(folder / split))
    assert [str(folder / path) for path in images.paths] == [path for path, _ in expected.samples]
    assert images.labels.tolist() == expected.targets
    assert (images.name, images.split, images.classes) == ("imagenet", split, tuple(expected.classes))
    assert imagenet.read(folder, split).image_size == (256, 256)


def test_test_reads_val(folder):
    assert imagenet.read(folder, "test", size=8).describe() == imagenet.read(folder, "val", size=8).describe()
    assert imagenet.read(folder, "test", size=8).split == "val"


@pytest.mark.parametrize("source", ["mapping", "devkit"])
def test_classes_are_named_by_their_first_word(folder, source):
    if source == "mapping":
        (folder / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} {words}\n" for wnid, words in WORDS.items()))
    else:
        add_devkit(folder)
    assert imagenet.read(folder, "val", size=8).classes == ("tench", "crane (n02012849)", "crane (n03126707)")


@pytest.mark.parametrize("with_train", [True, False])
def test_a_flat_val_has_the_labels_of_the_development_kit(folder, with_train):
    flatten(folder)
    (folder / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()  # the number determines the label, not the position
    image(folder / "val" / "ILSVRC2012_val_00000004.JPEG")
    add_devkit(folder)
    if not with_train:
        (folder / "train").rename(folder / "elsewhere")
    images = imagenet.read(folder, "test", size=8, storage="files")
    assert images.paths == [f"val/ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 3, 4)]
    assert images.labels.tolist() == [0, 1, 0]  # of TRUTH's 2, 3, 2
    assert images.classes == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert imagenet.problems(folder, "val") == []


@pytest.fixture
def kaggle(folder) -> Path:
    """The same images as Kaggle's archive unpacks them, with its lists."""
    flatten(folder)
    inner = folder / imagenet.KAGGLE
    inner.mkdir(parents=True)
    for split in ("train", "val"):
        (folder / split).rename(inner / split)
    rows = [f"ILSVRC2012_val_0000000{number},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for wnid, number in NUMBERS.items()]
    (folder / imagenet.SOLUTION).write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")
    (folder / imagenet.MAPPING).write_text("".join(f"{wnid} {words}\n" for wnid, words in WORDS.items()))
    return folder


@pytest.mark.parametrize("with_train", [True, False])
@pytest.mark.parametrize("root", ["..", ".", imagenet.KAGGLE])
def test_kaggles_archive_is_read_as_it_unpacks(kaggle, root, with_train):
    if not with_train:
        (kaggle / imagenet.KAGGLE / "train").rename(kaggle / "elsewhere")
        if root == imagenet.KAGGLE:
            return  # a flat val alone says nothing about its folder
    images = imagenet.read((kaggle / root).resolve(), "test", size=8, storage="files")
    named = {path: images.classes[label] for path, label in zip(images.paths, images.labels.tolist(), strict=True)}
    expected = {"n01440764": "tench", "n02012849": "crane (n02012849)", "n03126707": "crane (n03126707)"}
    assert named == {f"val/ILSVRC2012_val_0000000{NUMBERS[wnid]}.JPEG": name for wnid, name in expected.items()}
    assert images.batch([0]).shape == (1, 3, 8, 8)
    assert describe("imagenet", kaggle.parent).endswith("train, val" if with_train else ": val")
    assert imagenet.problems(kaggle, "val") == []
    if with_train:
        assert imagenet.read(kaggle, "train", size=8).classes == tuple(expected.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "_00000002,n01440764",
            "_00000002,tench",
            r"LOC_val_solution\.csv, line 3 is .*; expected the name of an image",
        ),
        ("_00000002", "_00000009", r"LOC_val_solution\.csv has no line for ILSVRC2012_val_00000002\.JPEG"),
        ("n02012849", "n00001740", r"val_00000003\.JPEG is of class n00001740, which .*train does not have"),
    ],
)
def test_a_list_of_kaggle_that_does_not_match(kaggle, old, new, message):
    path = kaggle / imagenet.SOLUTION
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CodialError, match=message):
        imagenet.read(kaggle, "val")


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ("2\n1\n", r"ILSVRC2012_val_00000003\.JPEG, but .*ground_truth\.txt has 2 lines.*truncated"),
        ("2\n1\nx\n", r"ground_truth\.txt, line 3 is 'x'; expected the number of a class in meta\.mat"),
        ("2\n99\n3\n", r"ground_truth\.txt, line 2 is '99'; expected the number of a class in meta\.mat"),
        ("2\n4\n3\n", r"val/ILSVRC2012_val_00000002\.JPEG is of class n00001740, which .*train does not have"),
        ("", r"ground_truth\.txt is empty"),
    ],
)
def test_a_development_kit_that_does_not_match(folder, truth, message):
    flatten(folder)
    add_devkit(folder, truth)
    with pytest.raises(CodialError, match=message):
        imagenet.read(folder, "val")
    assert len(imagenet.problems(folder, "val")) == 1
    assert imagenet.problems(folder, "train") == []


def test_a_development_kit_that_cannot_be_read(folder, monkeypatch):
    flatten(folder)
    with pytest.raises(CodialError, match=r"meta\.mat does not exist, and a flat val has no labels without it"):
        imagenet.read(folder, "val")
    add_devkit(folder)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "scipy.io", None)
        with pytest.raises(CodialError, match=r"meta\.mat needs SciPy .*pip install scipy"):
            imagenet.read(folder, "val")
    (folder / META_FILE).write_bytes((folder / META_FILE).read_bytes()[:200])
    with pytest.raises(CodialError, match=r"meta\.mat cannot be read"):
        imagenet.read(folder, "val")
    (folder / TRUTH_FILE).unlink()
    (folder / META_FILE).unlink()
    add = "n01440764 tench\n"
    (folder / "LOC_synset_mapping.txt").write_text(add + "n02012849\n")
    with pytest.raises(CodialError, match=r"LOC_synset_mapping\.txt, line 2 is 'n02012849'; expected a WordNet"):
        imagenet.read(folder, "train")
    (folder / "LOC_synset_mapping.txt").write_text(add)
    with pytest.raises(CodialError, match=r"LOC_synset_mapping\.txt has no name for n02012849"):
        imagenet.read(folder, "train")


def test_missing_folders_and_classes(folder, tmp_path):
    with pytest.raises(CodialError, match=r"nowhere/imagenet/train does not exist"):
        imagenet.read(tmp_path / "nowhere", "train")
    image(folder / "val" / "n02129165" / "a.JPEG")
    with pytest.raises(CodialError, match=r"val/n02129165 is a class that .*train does not have"):
        imagenet.read(folder, "val")
    (folder / "val").rename(tmp_path / "val")
    (folder / "val").mkdir()
    with pytest.raises(CodialError, match=r"No class folder and no ILSVRC2012_val_\*\.JPEG in .*val"):
        imagenet.read(folder, "val")
    (folder / "train" / "n01440764" / "n01440764_9.JPEG").unlink()
    (folder / "train" / "n01440764" / "n01440764_10026.JPEG").unlink()
    with pytest.raises(CodialError, match=r"1 of 3 classes have no image .*train; the first: n01440764"):
        imagenet.read(folder, "train")
    (folder / "train").rename(tmp_path / "train")
    (folder / "train").mkdir()
    assert imagenet.problems(folder, "train")[0].startswith("No class folder such as n01440764 in ")


def test_it_is_loaded_by_name(folder, tmp_path):
    assert describe("imagenet", tmp_path) == f"imagenet: present in {folder}: train, val"
    assert load_images("imagenet", "test", root=tmp_path, size=16, limit=2).images.shape == (2, 3, 16, 16)
    assert f"missing in {folder}/imagenet; get it with" in describe("imagenet", folder / "imagenet")


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_official_set(official, split):
    root = official("imagenet")
    images = imagenet.read(root, split, storage="files")
    assert images.labels.unique().tolist() == list(range(len(images.classes)))
    assert imagenet.problems(root, split) == []
    assert images.batch(range(8)).shape == (8, 3, 256, 256)
    assert images.skipped == ()
