import hashlib
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codial.data import file_list, load_images
from codial.data.datasets.image_folder import read_layout, split_by_hash
from codial.errors import CodialError


def image(path: Path, red: int = 0) -> Path:
    """Write an image that is identified by its red value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (red, 100, 100)).save(path, "PNG")
    return path


def reds(images) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture
def zoo(tmp_path):
    """Two classes, a deep folder, hidden files, a text file."""
    for red, name in enumerate(["cats/b.png", "cats/a.PNG", "cats/deep/er/c.JPG", "dogs/a.webp", "dogs/Z.png"]):
        image(tmp_path / "zoo" / name, red)
    image(tmp_path / "zoo" / "cats" / "._a.png", 99)
    image(tmp_path / "zoo" / ".ipynb_checkpoints" / "a.png", 99)
    image(tmp_path / "zoo" / "__MACOSX" / "a.png", 99)
    (tmp_path / "zoo" / "notes.txt").write_text("not an image")
    return tmp_path / "zoo"


def test_classes_are_the_sub_folders_and_images_are_sorted_by_path(zoo):
    images = load_images(zoo, "all")
    assert images.classes == ("cats", "dogs")
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert reds(images) == [1, 0, 2, 4, 3]  # cats/a.PNG, cats/b.png, cats/deep/er/c.JPG, dogs/Z.png, dogs/a.webp
    assert (images.name, images.split, images.skipped) == ("zoo", "all", ())
    assert images.labeled


def test_size_is_96_by_default(zoo):
    assert load_images(zoo, "all").images.shape == (5, 3, 96, 96)
    assert load_images(str(zoo), "all", size=20).images.shape == (5, 3, 20, 20)


def test_images_without_sub_folders_have_no_labels(tmp_path):
    for red in range(6):
        image(tmp_path / f"{red}.png", red)
    images = load_images(tmp_path, "all", size=8)
    assert reds(images) == list(range(6))
    assert images.labels.tolist() == [-1] * 6
    assert images.classes == ()
    assert not images.labeled


def test_images_beside_the_sub_folders_have_no_label(zoo):
    image(zoo / "alone.png", 50)
    images = load_images(zoo, "all")
    assert images.labels.tolist() == [-1, 0, 0, 0, 1, 1]
    assert images.classes == ("cats", "dogs")
    assert not images.labeled


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_train_and_test_folders_are_the_splits(tmp_path, held_out):
    for red, name in enumerate(
        ["train/cat/a.png", "train/emu/b.png", f"{held_out}/dog/a.png", f"{held_out}/emu/a.png"]
    ):
        image(tmp_path / name, red)
    image(tmp_path / "extra" / "a.png", 99)  # belongs to no split
    train, test = load_images(tmp_path), load_images(tmp_path, "test")
    assert (reds(train), reds(test)) == ([0, 1], [2, 3])
    assert train.classes == test.classes == ("cat", "dog", "emu")  # the same in both splits, though neither has all
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 2], [1, 2])
    assert sorted(reds(load_images(tmp_path, "all"))) == [0, 1, 2, 3]
    assert reds(load_images(tmp_path, held_out)) == [2, 3]


def test_val_is_a_split_beside_test(tmp_path):
    for red, name in enumerate(["train/a.png", "val/a.png", "test/a.png"]):
        image(tmp_path / name, red)
    assert [reds(load_images(tmp_path, split)) for split in ("train", "val", "test")] == [[0], [1], [2]]


def test_train_may_be_a_class(tmp_path):
    for red, name in enumerate(["car/a.png", "plane/a.png", "train/a.png"]):
        image(tmp_path / name, red)
    images = load_images(tmp_path, "all")
    assert images.classes == ("car", "plane", "train")
    assert len(images) == 3


def test_a_train_folder_alone_has_no_test_split(tmp_path):
    image(tmp_path / "train" / "cat" / "a.png")
    assert load_images(tmp_path).classes == ("cat",)
    with pytest.raises(CodialError, match=r"No split of .* 'test'\. Expected one of: train, all\."):
        load_images(tmp_path, "test")


def test_without_split_folders_a_hash_of_the_path_decides(tmp_path):
    for red in range(60):
        image(tmp_path / f"{red}.png", red)
    train, test = (reds(load_images(tmp_path, split, size=4)) for split in ("train", "test"))
    assert sorted(train + test) == list(range(60))
    assert test == [red for red in sorted(range(60), key=str) if split_by_hash(f"{red}.png") == "test"]
    image(tmp_path / "another.png", 200)
    assert set(test) - {200} <= set(reds(load_images(tmp_path, "test", size=4)))  # a new image moves no other


def test_the_hash_is_about_80_to_20_and_never_changes():
    splits = [split_by_hash(f"class {n % 7}/{n}.jpg") for n in range(5000)]
    assert 0.18 < splits.count("test") / 5000 < 0.22
    assert "".join(split[1] for split in splits[:24]) == "rrerrrrrerrerrrrrrreerrr"


def test_composed_and_decomposed_accents_have_the_same_hash():
    names = [f"vögel/é²{n}.png" for n in range(50)]
    composed, decomposed = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    assert composed != decomposed
    numbers = [int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) for name in composed]
    expected = ["train" if number % 5 else "test" for number in numbers]
    assert [split_by_hash(name) for name in composed] == [split_by_hash(name) for name in decomposed] == expected


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_is_an_error(tmp_path, split):
    number = next(n for n in range(99) if split_by_hash(f"{n}.png") != split)
    image(tmp_path / f"{number}.png")
    with pytest.raises(CodialError, match=rf"None of the 1 images in .* is in the split '{split}' .* split=\"all\""):
        load_images(tmp_path, split)


def test_unicode_names(tmp_path):
    image(tmp_path / "日本 猫" / "ünï 🐈.png", 7)
    images = load_images(tmp_path, "all")
    assert images.classes == ("日本 猫",)
    assert reds(images) == [7]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows names that are not UTF-8")
def test_names_that_are_not_utf8_can_be_read_and_printed(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    image(folder / os.fsdecode(b"cr\xe8me.png"), 7)
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 2") as caught:
        images = load_images(tmp_path, "all")
    assert reds(images) == [7]
    for text in (*images.classes, *images.skipped, str(caught[0].message)):
        text.encode()
    assert len(images.fingerprint) == 16


def test_unreadable_images_are_skipped_counted_and_listed(zoo):
    (zoo / "cats" / "aa.png").write_bytes(b"")
    (zoo / "dogs" / "b.jpg").write_bytes(b"<html>")
    with pytest.warns(UserWarning, match="skipped") as caught:
        images = load_images(zoo, "all")
    assert len(caught) == 1
    assert str(caught[0].message) == (
        f"2 of 7 images in {zoo} could not be decoded and are skipped (see .skipped); "
        "the first: cats/aa.png: the file is empty"
    )
    assert caught[0].filename == __file__  # the caller
    assert images.skipped == ("cats/aa.png: the file is empty", "dogs/b.jpg: not an image of a known format")
    assert reds(images) == [1, 0, 2, 4, 3]
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert images.images.is_contiguous()


def test_strict_raises_an_error_for_the_first(zoo):
    (zoo / "cats" / "aa.png").write_bytes(b"")
    with pytest.raises(CodialError, match=r"zoo/cats/aa\.png: the file is empty\. Repair or remove"):
        load_images(zoo, "all", strict=True)


def test_no_readable_image_is_an_error(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(CodialError, match=r"None of the 2 images .* could be decoded; the first: a\.png: not an image"):
        load_images(tmp_path, "all")


def test_limit_decodes_only_the_sample(zoo, monkeypatch):
    decoded = []
    decode_all = file_list.decode_all
    monkeypatch.setattr(file_list, "decode_all", lambda paths, size: decoded.extend(paths) or decode_all(paths, size))
    images = load_images(zoo, "all", limit=2, seed=3)
    assert len(decoded) == len(images) == 2
    assert images.labels.tolist() == [0, 1]  # one of each class
    assert images.classes == ("cats", "dogs")
    assert np.array_equal(images.images, load_images(zoo, "all").subset(2, 3).images)


def test_links_are_followed_but_no_folder_is_read_twice(zoo, tmp_path):
    image(tmp_path / "elsewhere" / "a.png", 70)
    (zoo / "birds").symlink_to(tmp_path / "elsewhere")
    (zoo / "cats" / "up").symlink_to(zoo)
    (zoo / "dogs" / "here").symlink_to(".")
    (tmp_path / "elsewhere" / "back").symlink_to(zoo / "cats")
    images = load_images(zoo, "all")
    assert images.classes == ("birds", "cats", "dogs")
    assert sorted(reds(images)) == [0, 1, 2, 3, 4, 70]


def test_the_fingerprint_depends_only_on_the_content(zoo, tmp_path):
    first = load_images(zoo, "all").fingerprint
    zoo.rename(tmp_path / "moved")
    assert load_images(tmp_path / "moved", "all").fingerprint == first
    image(tmp_path / "moved" / "cats" / "b.png", 1)
    assert load_images(tmp_path / "moved", "all").fingerprint != first


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CodialError, match=r"No image in .*; expected files ending in \.jpg, .*\.png"):
        load_images(tmp_path)


def test_split_folders_without_images_are_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    image(tmp_path / "a.png")
    for split in ("train", "all"):
        with pytest.raises(CodialError, match=r"No image in test/, train/ of .*, which look like its splits; fill or"):
            load_images(tmp_path, split)


def test_a_missing_folder_is_an_error_that_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CodialError, match=rf"No data set or folder 'plain'.*\({tmp_path}/plain does not exist\)"):
        load_images("plain")
    with pytest.raises(CodialError, match=rf"plain/images does not exist in {tmp_path}; expected a folder of images"):
        load_images("plain/images")


def test_a_folder_is_read_as_chosen(tmp_path):
    for red, name in enumerate(["train/a.png", "test/a.png", "car/a.png"]):
        image(tmp_path / name, red)
    with pytest.raises(CodialError, match="can be read in two ways"):
        load_images(tmp_path)
    assert reds(load_images(f"{tmp_path}#splits", "test")) == [1]
    images = load_images(f"{tmp_path}#classes", "all")
    assert images.classes == ("car", "test", "train")
    assert images.name == tmp_path.name


def test_what_is_passed_over_is_told(zoo, monkeypatch):
    monkeypatch.setattr("codial.data.datasets.image_folder.extensions", lambda: (".jpg", ".png", ".webp"))
    (zoo / "dogs" / "c.HEIC").touch()
    layout = read_layout(zoo)
    assert [file.path for file in layout.files if file.category == "dogs"] == ["dogs/Z.png", "dogs/a.webp"]
    assert layout.passed_over[".heic files"] == ["dogs/c.HEIC"]
    assert set(layout.passed_over["system or hidden"]) == {".ipynb_checkpoints/", "__MACOSX/", "cats/._a.png"}


def test_a_file_is_not_a_folder(tmp_path):
    path = image(tmp_path / "a.png")
    with pytest.raises(CodialError, match=r"a\.png is a file; expected a folder of images"):
        load_images(path)


@pytest.mark.parametrize("size", [0, -3, 9.5, "96", True])
def test_a_size_out_of_range_is_refused(zoo, size):
    with pytest.raises(CodialError, match=r"size is .*; expected a whole number of at least 1"):
        load_images(zoo, size=size)
