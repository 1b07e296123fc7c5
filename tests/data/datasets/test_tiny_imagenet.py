from pathlib import Path

import pytest
from PIL import Image

from codial.data import ImageFiles, describe, load_images
from codial.data.datasets import tiny_imagenet
from codial.errors import CodialError

WNIDS = ["n02123394", "n01641577", "n02012849", "n03126707"]  # not sorted, as in the official list
WORDS = {
    "n02123394": "Persian cat",
    "n01641577": "bullfrog, Rana catesbeiana",
    "n02012849": "crane",
    "n03126707": "crane",
    "n00001740": "entity",
}
VAL = [
    ("val_0.JPEG", "n03126707"),
    ("val_1.JPEG", "n01641577"),
    ("val_10.JPEG", "n01641577"),
    ("val_2.JPEG", "n02123394"),
]


def image(path: Path, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (red, 100, 100)).save(path, "JPEG")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small Tiny-ImageNet: two training images per class, the second written first."""
    folder = tmp_path / "tiny-imagenet-200"
    for red, wnid in enumerate(sorted(WNIDS)):
        for number in (1, 0):
            image(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 20 * red + 100 * number)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t7\t7\n")
    for name, _ in VAL:
        image(folder / "val" / "images" / name)
    (folder / "val" / "val_annotations.txt").write_text("".join(f"{n}\t{wnid}\t0\t0\t7\t7\n" for n, wnid in VAL))
    (folder / "wnids.txt").write_text("\n".join(WNIDS))
    (folder / "words.txt").write_text("".join(f"{wnid}\t{words}\n" for wnid, words in WORDS.items()))
    return folder


def test_classes_are_sorted_by_id_and_named_by_their_first_word(folder):
    images = tiny_imagenet.read(folder.parent, "train", size=8)
    assert images.classes == ("bullfrog", "crane (n02012849)", "Persian cat", "crane (n03126707)")
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    reds = images.images[:, 0, 4, 4].tolist()
    assert reds == pytest.approx([0, 100, 20, 120, 40, 140, 60, 160], abs=4)  # by class, then by name
    assert (images.name, images.split) == ("tiny-imagenet", "train")
    assert tiny_imagenet.read(folder, "train").image_size == (64, 64)


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_labeled_val_is_read_as_test_in_the_order_of_its_list(folder, split):
    image(folder / "test" / "images" / "test_0.JPEG")  # has no label and is not in the split "test"
    images = tiny_imagenet.read(folder.parent, split, storage="files")
    assert isinstance(images, ImageFiles)
    assert images.paths == [f"val/images/{name}" for name, _ in VAL]
    assert images.labels.tolist() == [3, 0, 0, 2]
    assert images.split == "val"
    assert images.batch([0]).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("below", ["", "images"])
@pytest.mark.parametrize("list_kept", [True, False])
def test_a_val_that_is_sorted_into_classes_has_the_same_labels(folder, below, list_kept):
    expected = tiny_imagenet.read(folder, "val", storage="files")
    for name, wnid in VAL:
        (folder / "val" / wnid / below).mkdir(parents=True, exist_ok=True)
        (folder / "val" / "images" / name).rename(folder / "val" / wnid / below / name)
    (folder / "val" / "images").rmdir()
    image(folder / "val" / "n02012849" / below / "val_3.JPEG")
    if not list_kept:
        (folder / "val" / "val_annotations.txt").unlink()
    images = tiny_imagenet.read(folder, "test", storage="files")
    labels = {Path(path).name: label for path, label in zip(images.paths, images.labels.tolist(), strict=True)}
    official = {Path(path).name: label for path, label in zip(expected.paths, expected.labels.tolist(), strict=True)}
    assert labels == official | {"val_3.JPEG": images.classes.index("crane (n02012849)")}
    assert images.labels.tolist() == sorted(images.labels.tolist())
    assert images.split == "val"
    assert tiny_imagenet.problems(folder, "val") == []
    assert "val" in describe("tiny-imagenet", folder.parent)
    (folder / "val" / "n00000001").mkdir()
    with pytest.raises(CodialError, match=r"val/n00000001 is not a class of wnids\.txt"):
        tiny_imagenet.read(folder, "val")


def test_training_images_may_be_directly_in_their_class(folder):
    expected = tiny_imagenet.read(folder, "train")
    for path in sorted((folder / "train").glob("*/images/*")):
        path.rename(path.parents[1] / path.name)
    for path in (folder / "train").glob("*/images"):
        path.rmdir()
    assert tiny_imagenet.read(folder, "train").fingerprint == expected.fingerprint


def test_the_official_test_images_have_no_labels(folder):
    with pytest.raises(CodialError, match=r"test/images does not exist, so there are no unlabeled images"):
        tiny_imagenet.read(folder, "unlabeled")
    (folder / "test" / "images").mkdir(parents=True)
    with pytest.raises(CodialError, match=r"No image \(\*\.JPEG\) in .*test/images"):
        tiny_imagenet.read(folder, "unlabeled")
    for number in (10, 2):
        image(folder / "test" / "images" / f"test_{number}.JPEG")
    images = tiny_imagenet.read(folder, "unlabeled", storage="files")
    assert images.paths == ["test/images/test_10.JPEG", "test/images/test_2.JPEG"]
    assert images.labels.tolist() == [-1, -1]
    assert len(images.classes) == 4


def test_limit_samples_before_anything_is_decoded(folder):
    (folder / "val" / "images" / "val_0.JPEG").write_bytes(b"")
    with pytest.raises(CodialError, match=r"val_0\.JPEG: the file is empty"):
        tiny_imagenet.read(folder, "val", strict=True)
    samples = {seed: tiny_imagenet.read(folder, "val", limit=2, seed=seed, storage="files").paths for seed in range(20)}
    assert {len(paths) for paths in samples.values()} == {2}
    without = next(seed for seed, paths in samples.items() if "val/images/val_0.JPEG" not in paths)
    assert len(tiny_imagenet.read(folder, "val", limit=2, seed=without, strict=True)) == 2


@pytest.mark.parametrize(
    ("file", "content", "split", "message"),
    [
        ("wnids.txt", None, "val", r"wnids\.txt does not exist"),
        ("wnids.txt", "", "val", r"wnids\.txt is empty"),
        ("wnids.txt", "n02123394\nn0164", "val", r"wnids\.txt, line 2 is 'n0164'; expected another WordNet ID"),
        ("wnids.txt", "n02123394\nn02123394", "val", r"wnids\.txt, line 2 is 'n02123394'; expected another"),
        ("words.txt", None, "train", r"words\.txt does not exist"),
        ("words.txt", "n02123394\tPersian cat\n", "train", r"words\.txt has no line for n01641577"),
        ("val/val_annotations.txt", None, "test", r"val_annotations\.txt does not exist"),
        ("val/val_annotations.txt", b"\xff\xfe", "test", r"val_annotations\.txt cannot be read: .*utf-8"),
        (
            "val/val_annotations.txt",
            "a.JPEG\tn02123394\t0\t0\t7\t7\nb.JPEG\tn021",
            "val",
            r"txt, line 2 is 'b\.JPEG.*truncated",
        ),
        (
            "val/val_annotations.txt",
            "a.JPEG\tn02129165\t0\t0\t7\t7\n",
            "val",
            r"txt, line 1 is .* a class of wnids\.txt",
        ),
    ],
)
def test_errors_name_file_and_line(folder, file, content, split, message):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CodialError, match=message):
        tiny_imagenet.read(folder.parent, split)
    (problem,) = tiny_imagenet.problems(folder.parent, split)
    assert file in problem


def test_a_class_without_images_is_named(folder):
    for path in (folder / "train" / "n02012849" / "images").iterdir():
        path.unlink()
    message = r"1 of 4 classes have no image \(\*\.JPEG\) in .*train; the first: n02012849/images"
    with pytest.raises(CodialError, match=message):
        tiny_imagenet.read(folder, "train")


def test_problems_name_missing_images_and_unknown_classes(folder):
    assert all(tiny_imagenet.problems(folder, split) == [] for split in ("train", "val", "test"))
    (folder / "val" / "images" / "val_10.JPEG").unlink()
    assert tiny_imagenet.problems(folder, "test") == [f"{folder}/val/images/val_10.JPEG is missing"]
    (folder / "val" / "images").rename(folder / "elsewhere")
    assert tiny_imagenet.problems(folder, "val") == [f"{folder}/val/images is missing"]  # once, not for each image
    image(folder / "train" / "n02129165" / "images" / "a.JPEG")
    assert tiny_imagenet.problems(folder, "train") == [f"{folder}/train/n02129165 is not a class of wnids.txt"]


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(CodialError, match=r"No split of tiny-imagenet 'valid'\. Did you mean 'val'"):
        tiny_imagenet.read(folder, "valid")


def test_it_is_loaded_by_name(folder, tmp_path):
    assert describe("tiny-imagenet", tmp_path) == f"tiny-imagenet: present in {folder}: train, val"
    assert load_images("tiny-imagenet", "test", root=tmp_path, size=16, limit=1).images.shape == (1, 3, 16, 16)
    assert "missing in " in describe("tiny-imagenet", tmp_path / "nowhere")


@pytest.mark.parametrize(("split", "count"), [("train", 500), ("val", 50)])
def test_the_official_set_is_balanced(official, split, count):
    root = official("tiny-imagenet")
    images = tiny_imagenet.read(root, split, storage="files")
    assert images.labels.bincount(minlength=len(images.classes)).unique().tolist() == [count]
    assert tiny_imagenet.problems(root, split) == []
    assert images.batch(range(8)).shape == (8, 3, 64, 64)
    assert images.skipped == ()
