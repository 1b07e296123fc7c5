from pathlib import Path

import pytest
from PIL import Image

from codial.data import describe, load_images
from codial.data.datasets import places205
from codial.errors import CodialError

CATEGORIES = "/a/abbey 0\n/b/bakery/shop 1\n/y/yard 2\n"
TRAIN = "b/bakery/shop/gsun_2.jpg 1\na/abbey/gsun_9.jpg 0\ny/yard/gsun_1.jpg 2\na/abbey/gsun_3.jpg 0\n"
VAL = "y/yard/gsun_0.jpg 2\na/abbey/gsun_5.jpg 0\n"
LISTS = "trainvalsplit_places205"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small Places205 with unsorted lists."""
    folder = tmp_path / "places205"
    (folder / LISTS).mkdir(parents=True)
    for split, content in (("train", TRAIN), ("val", VAL)):
        (folder / LISTS / f"{split}_places205.csv").write_text(content)
        for line in content.splitlines():
            path = folder / "images256" / line.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (int(path.stem[-1]) * 20, 0, 0)).save(path)
    (folder / "categories_places205.csv").write_text(CATEGORIES)
    return folder


def test_images_and_labels_in_the_order_of_the_list(folder):
    images = places205.read(folder.parent, "train", size=8)
    assert images.images[:, 0, 4, 4].tolist() == pytest.approx([40, 180, 20, 60], abs=4)
    assert images.labels.tolist() == [1, 0, 2, 0]
    assert images.classes == ("abbey", "bakery/shop", "yard")
    assert (images.name, images.split) == ("places205", "train")
    assert places205.read(folder, "train").image_size == (256, 256)


@pytest.mark.parametrize("split", ["val", "test"])
def test_test_reads_val(folder, split):
    images = places205.read(folder, split, size=8, storage="files")
    assert (images.split, images.labels.tolist()) == ("val", [2, 0])
    assert len(images.classes) == 3


def test_the_images_may_be_where_the_archive_unpacks_them(folder):
    fingerprint = places205.read(folder, "train", size=8).fingerprint
    (folder / "data/vision/torralba/deeplearning").mkdir(parents=True)
    (folder / "images256").rename(folder / "data/vision/torralba/deeplearning/images256")
    assert places205.read(folder, "train", size=8).fingerprint == fingerprint


def test_categories_may_be_beside_the_lists_in_any_order(folder):
    (folder / "categories_places205.csv").unlink()
    content = "".join(f"{line}\n" for line in reversed(CATEGORIES.splitlines()))
    (folder / LISTS / "categories_places205.csv").write_text(content)
    assert places205.read(folder, "val", size=8).classes == ("abbey", "bakery/shop", "yard")


def test_without_categories_the_folders_name_the_classes(folder):
    (folder / "categories_places205.csv").unlink()
    assert places205.read(folder, "train", size=8).classes == ("abbey", "bakery/shop", "yard")
    message = r"val_places205\.csv has no image of label 1 to name it by; put categories_places205\.csv"
    with pytest.raises(CodialError, match=message):
        places205.read(folder, "val")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"{LISTS}/val_places205.csv", None, r"val_places205\.csv does not exist"),
        (f"{LISTS}/val_places205.csv", "\n", r"val_places205\.csv is empty"),
        (f"{LISTS}/val_places205.csv", VAL[:-5], r"csv, line 2 is 'a/abbey/gsun_5.j'; expected .*truncated"),
        (f"{LISTS}/val_places205.csv", "a/a.jpg 0\na/b.jpg 1.5", r"csv, line 2 is 'a/b\.jpg 1\.5'; expected a name"),
        (f"{LISTS}/val_places205.csv", "a/a.jpg 0\n\na/b.jpg 1\n", r"csv, line 2 is ''; expected a name, a space"),
        (f"{LISTS}/val_places205.csv", "a/a.jpg -1", r"csv, line 1 is 'a/a\.jpg -1'"),
        (f"{LISTS}/val_places205.csv", "a/a.jpg " + "9" * 40, r"csv, line 1 is 'a/a\.jpg 999"),
        (f"{LISTS}/val_places205.csv", "a/a.jpg 0\na/b.jpg 3", r"csv, line 2 has the label 3; expected 0 to 2"),
        (
            "categories_places205.csv",
            "/a/abbey 0\n/y/yard 2\n",
            r"categories_places205\.csv does not number its 2 classes",
        ),
    ],
)
def test_errors_name_file_and_line(folder, file, content, message):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(CodialError, match=message):
        places205.read(folder, "test")
    (problem,) = places205.problems(folder, "test")
    assert file in problem


def test_missing_images_are_problems(folder, tmp_path):
    assert places205.problems(folder, "train") == places205.problems(folder, "test") == []
    (folder / "images256/a/abbey/gsun_3.jpg").unlink()
    assert places205.problems(folder, "train") == [f"{folder}/images256/a/abbey/gsun_3.jpg is missing"]
    with pytest.warns(UserWarning, match="1 of 4 images .* skipped .*gsun_3.jpg"):
        assert len(places205.read(folder, "train", size=8)) == 3
    (folder / "images256").rename(tmp_path / "elsewhere")
    with pytest.raises(CodialError, match="images256 does not exist; unpack the images of Places205"):
        places205.read(folder, "train")


def test_a_label_that_disagrees_with_its_folder_is_a_problem(folder):
    path = folder / LISTS / "val_places205.csv"
    path.write_text(VAL.replace("_5.jpg 0", "_5.jpg 1"))
    assert places205.problems(folder, "val") == [f"{path}, line 2: a/abbey/gsun_5.jpg has the label of bakery/shop"]


def test_a_long_list(folder):
    count = 100_000
    rows = (f"a/abbey/gsun_{number:032x}.jpg {number % 3}\n" for number in range(count))
    (folder / LISTS / "train_places205.csv").write_text("".join(rows))
    images = places205.read(folder, "train", storage="files")
    assert images.labels.bincount().tolist() == [33_334, 33_333, 33_333]
    assert len(set(images.paths)) == count


def test_it_is_loaded_by_name(folder, tmp_path):
    assert describe("places205", tmp_path) == f"places205: present in {folder}: train, val"
    assert load_images("places205", "test", root=tmp_path, size=16, limit=1).images.shape == (1, 3, 16, 16)
    assert f"missing in {tmp_path}/nowhere/places205; get it with" in describe("places205", tmp_path / "nowhere")


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_official_set(official, split):
    root = official("places205")
    images = places205.read(root, split, storage="files")
    assert images.labels.unique().tolist() == list(range(len(images.classes)))
    assert places205.problems(root, split) == []
    assert images.batch(range(8)).shape == (8, 3, 256, 256)
    assert images.skipped == ()
