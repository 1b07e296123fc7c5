import hashlib
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codial.data import listed, load_images
from codial.data.splits import hashed_split
from codial.errors import CodialError


def picture(path: Path, red: int = 0) -> Path:
    """Write a picture that is recognised by its red."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (red, 100, 100)).save(path, "PNG")
    return path


def reds(images) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture
def zoo(tmp_path):
    """Two classes, a deep folder, a hidden file, a note."""
    for red, name in enumerate(["cats/b.png", "cats/a.PNG", "cats/deep/er/c.JPG", "dogs/a.webp", "dogs/Z.png"]):
        picture(tmp_path / "zoo" / name, red)
    picture(tmp_path / "zoo" / "cats" / "._a.png", 99)
    picture(tmp_path / "zoo" / ".ipynb_checkpoints" / "a.png", 99)
    picture(tmp_path / "zoo" / "__MACOSX" / "a.png", 99)
    (tmp_path / "zoo" / "notes.txt").write_text("not a picture")
    return tmp_path / "zoo"


def test_classes_are_the_sub_folders_and_the_order_is_the_paths(zoo):
    images = load_images(zoo, "all")
    assert images.classes == ("cats", "dogs")
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert reds(images) == [1, 0, 2, 4, 3]  # cats/a.PNG, cats/b.png, cats/deep/er/c.JPG, dogs/Z.png, dogs/a.webp
    assert (images.name, images.split, images.skipped) == ("zoo", "all", ())
    assert images.labelled


def test_size_is_96_unless_asked_for(zoo):
    assert load_images(zoo, "all").images.shape == (5, 3, 96, 96)
    assert load_images(str(zoo), "all", size=20).images.shape == (5, 3, 20, 20)


def test_pictures_without_sub_folders_have_no_labels(tmp_path):
    for red in range(6):
        picture(tmp_path / f"{red}.png", red)
    images = load_images(tmp_path, "all", size=8)
    assert reds(images) == list(range(6))
    assert images.labels.tolist() == [-1] * 6
    assert images.classes == ()
    assert not images.labelled


def test_pictures_beside_the_sub_folders_have_no_label(zoo):
    picture(zoo / "alone.png", 50)
    images = load_images(zoo, "all")
    assert images.labels.tolist() == [-1, 0, 0, 0, 1, 1]
    assert images.classes == ("cats", "dogs")
    assert not images.labelled


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_train_and_test_folders_are_the_splits(tmp_path, held_out):
    for red, name in enumerate(
        ["train/cat/a.png", "train/emu/b.png", f"{held_out}/dog/a.png", f"{held_out}/emu/a.png"]
    ):
        picture(tmp_path / name, red)
    picture(tmp_path / "extra" / "a.png", 99)  # belongs to no split
    train, test = load_images(tmp_path), load_images(tmp_path, "test")
    assert (reds(train), reds(test)) == ([0, 1], [2, 3])
    assert train.classes == test.classes == ("cat", "dog", "emu")  # one numbering, though neither split has all
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 2], [1, 2])
    assert sorted(reds(load_images(tmp_path, "all"))) == [0, 1, 2, 3]
    assert reds(load_images(tmp_path, held_out)) == [2, 3]


def test_test_does_not_hide_val(tmp_path):
    for red, name in enumerate(["train/a.png", "val/a.png", "test/a.png"]):
        picture(tmp_path / name, red)
    assert [reds(load_images(tmp_path, split)) for split in ("train", "val", "test")] == [[0], [1], [2]]


def test_train_may_be_a_class(tmp_path):
    for red, name in enumerate(["car/a.png", "plane/a.png", "train/a.png"]):
        picture(tmp_path / name, red)
    images = load_images(tmp_path, "all")
    assert images.classes == ("car", "plane", "train")
    assert len(images) == 3


def test_a_train_folder_alone_has_no_test_split(tmp_path):
    picture(tmp_path / "train" / "cat" / "a.png")
    assert load_images(tmp_path).classes == ("cat",)
    with pytest.raises(CodialError, match=r"No split of .* 'test'\. Expected one of: train, all\."):
        load_images(tmp_path, "test")


def test_without_split_folders_a_hash_of_the_path_decides(tmp_path):
    for red in range(60):
        picture(tmp_path / f"{red}.png", red)
    train, test = (reds(load_images(tmp_path, split, size=4)) for split in ("train", "test"))
    assert sorted(train + test) == list(range(60))
    assert test == [red for red in sorted(range(60), key=str) if hashed_split(f"{red}.png") == "test"]
    picture(tmp_path / "another.png", 200)
    assert set(test) - {200} <= set(reds(load_images(tmp_path, "test", size=4)))  # a new picture moves none


def test_the_hash_is_about_80_to_20_and_never_changes():
    answers = [hashed_split(f"class {n % 7}/{n}.jpg") for n in range(5000)]
    assert 0.18 < answers.count("test") / 5000 < 0.22
    assert "".join(answer[1] for answer in answers[:24]) == "rrerrrrrerrerrrrrrreerrr"


def test_accents_hash_alike_however_they_are_written():
    names = [f"vögel/é²{n}.png" for n in range(50)]
    composed, apart = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    assert composed != apart
    numbers = [int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) for name in composed]
    expected = ["train" if number % 5 else "test" for number in numbers]
    assert [hashed_split(name) for name in composed] == [hashed_split(name) for name in apart] == expected


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_half_says_what_to_do(tmp_path, split):
    number = next(n for n in range(99) if hashed_split(f"{n}.png") != split)
    picture(tmp_path / f"{number}.png")
    with pytest.raises(CodialError, match=rf"None of the 1 pictures in .* belongs to '{split}' .* split=\"all\""):
        load_images(tmp_path, split)


def test_unicode_names(tmp_path):
    picture(tmp_path / "日本 猫" / "ünï 🐈.png", 7)
    images = load_images(tmp_path, "all")
    assert images.classes == ("日本 猫",)
    assert reds(images) == [7]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows names that are not UTF-8")
def test_names_that_are_not_utf8_can_be_read_and_printed(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    picture(folder / os.fsdecode(b"cr\xe8me.png"), 7)
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 2") as caught:
        images = load_images(tmp_path, "all")
    assert reds(images) == [7]
    for text in (*images.classes, *images.skipped, str(caught[0].message)):
        text.encode()
    assert len(images.fingerprint) == 16


def test_unreadable_pictures_are_skipped_counted_and_listed(zoo):
    (zoo / "cats" / "aa.png").write_bytes(b"")
    (zoo / "dogs" / "b.jpg").write_bytes(b"<html>")
    with pytest.warns(UserWarning, match="left out") as caught:
        images = load_images(zoo, "all")
    assert len(caught) == 1
    assert str(caught[0].message) == (
        f"2 of 7 pictures in {zoo} could not be read and are left out (see .skipped); "
        "the first: cats/aa.png: the file is empty"
    )
    assert caught[0].filename == __file__  # it points at the caller
    assert images.skipped == ("cats/aa.png: the file is empty", "dogs/b.jpg: not a picture of a known format")
    assert reds(images) == [1, 0, 2, 4, 3]
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert images.images.is_contiguous()


def test_strict_makes_the_first_one_an_error(zoo):
    (zoo / "cats" / "aa.png").write_bytes(b"")
    with pytest.raises(CodialError, match=r"zoo/cats/aa\.png: the file is empty\. Mend or remove"):
        load_images(zoo, "all", strict=True)


def test_no_readable_picture_is_an_error(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(CodialError, match=r"None of the 2 pictures .* could be read; the first: a\.png: not a picture"):
        load_images(tmp_path, "all")


def test_limit_decodes_only_what_it_chose(zoo, monkeypatch):
    asked = []
    decode_all = listed.decode_all
    monkeypatch.setattr(listed, "decode_all", lambda paths, size: asked.extend(paths) or decode_all(paths, size))
    images = load_images(zoo, "all", limit=2, seed=3)
    assert len(asked) == len(images) == 2
    assert images.labels.tolist() == [0, 1]  # one of each class
    assert images.classes == ("cats", "dogs")
    assert np.array_equal(images.images, load_images(zoo, "all").subset(2, 3).images)


def test_links_are_followed_but_not_round_and_round(zoo, tmp_path):
    picture(tmp_path / "elsewhere" / "a.png", 70)
    (zoo / "birds").symlink_to(tmp_path / "elsewhere")
    (zoo / "cats" / "up").symlink_to(zoo)
    (zoo / "dogs" / "here").symlink_to(".")
    (tmp_path / "elsewhere" / "back").symlink_to(zoo / "cats")
    images = load_images(zoo, "all")
    assert images.classes == ("birds", "cats", "dogs")
    assert sorted(reds(images)) == [0, 1, 2, 3, 4, 70]


def test_the_fingerprint_is_that_of_the_content(zoo, tmp_path):
    first = load_images(zoo, "all").fingerprint
    zoo.rename(tmp_path / "moved")
    assert load_images(tmp_path / "moved", "all").fingerprint == first
    picture(tmp_path / "moved" / "cats" / "b.png", 1)
    assert load_images(tmp_path / "moved", "all").fingerprint != first


def test_a_folder_without_pictures_says_what_is_expected(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CodialError, match=r"No picture in .*; expected files ending in \.jpg, .*\.png"):
        load_images(tmp_path)


def test_split_folders_without_pictures(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    picture(tmp_path / "a.png")
    with pytest.raises(CodialError, match="No split of"):
        load_images(tmp_path)
    with pytest.raises(CodialError, match="None of the 0 pictures"):
        load_images(tmp_path, "all")


def test_a_file_is_not_a_folder(tmp_path):
    path = picture(tmp_path / "a.png")
    with pytest.raises(CodialError, match=r"a\.png is a file; expected a folder of pictures"):
        load_images(path)


@pytest.mark.parametrize("size", [0, -3, 9.5, "96", True])
def test_a_size_that_is_none(zoo, size):
    with pytest.raises(CodialError, match=r"size is .*; expected a whole number of at least 1"):
        load_images(zoo, size=size)
