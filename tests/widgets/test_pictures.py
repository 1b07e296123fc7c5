"""Choosing a picture: its set or file, its number, and what is said when it cannot be had."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from PIL import Image

from codial.errors import CodialError
from codial.widgets.pictures import PictureChooser


@pytest.fixture
def said():
    return []


@pytest.fixture
def chooser(photos, said):
    """A chooser whose panel keeps errors, as the explorer does."""

    def act(action, doing):
        if not acting:
            acting.append(1)
            try:
                action()
                said.append("")
            except CodialError as error:
                said.append(str(error))
            acting.clear()

    acting = []
    return PictureChooser(photos["train"], 32, act, number=5)


def jpeg(colour):
    content = io.BytesIO()
    Image.new("RGB", (90, 60), colour).save(content, "jpeg")
    return content.getvalue()


def uploaded(chooser, name, content):
    chooser.controls["upload"].value = (
        {
            "name": name,
            "type": "image/jpeg",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(UTC),
        },
    )


def test_it_starts_with_the_given_picture(chooser, photos):
    assert torch.equal(chooser.picture, photos["train"].batch([5])[0])
    assert chooser.controls["source"].value == "photos"
    assert chooser.controls["count"].value == "of 320"


def test_numbers_are_typed_or_stepped_through_round_the_end(chooser, photos, said):
    chooser.controls["number"].value = 319
    chooser.controls["next"].click()
    assert chooser.controls["number"].value == 0
    chooser.controls["previous"].click()
    assert torch.equal(chooser.picture, photos["train"].batch([319])[0])
    assert said == ["", "", ""]


def test_a_folder_and_a_file_are_opened_by_path(chooser, tmp_path, said):
    for place, colour in enumerate(("red", "blue")):
        (tmp_path / f"{place}.jpg").write_bytes(jpeg(colour))
    chooser.controls["source"].value = str(tmp_path)
    assert chooser.controls["count"].value == "of 2"
    assert chooser.picture.shape == (3, 96, 96)
    chooser.controls["source"].value = f"  {tmp_path / '1.jpg'} "
    assert chooser.controls["count"].value == "of 1"
    assert chooser.picture.shape == (3, 64, 64), "twice the view's side"
    assert chooser.picture.float().mean((1, 2)).argmax() == 2, "blue"
    chooser.controls["source"].value = "photos"
    assert chooser.controls["count"].value == "of 4,000"
    assert said == ["", "", ""]


def test_a_file_is_uploaded_and_can_come_again(chooser, said):
    for colour, channel in (("red", 0), ("lime", 1), ("lime", 1)):
        uploaded(chooser, "mine.jpg", jpeg(colour))
        assert chooser.picture.float().mean((1, 2)).argmax() == channel
        assert chooser.controls["upload"].value == ()
    assert chooser.controls["source"].value == "mine.jpg"
    assert said == ["", "", ""]


def test_a_broken_file_is_told_and_the_picture_stays(chooser, said):
    before = chooser.picture
    uploaded(chooser, "mine.jpg", jpeg("red")[:100])
    uploaded(chooser, "empty.jpg", b"")
    assert "mine.jpg is no picture that can be read" in said[0]
    assert "empty.jpg is no picture that can be read: the file is empty" in said[1]
    assert torch.equal(chooser.picture, before)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nonsense", "No set or folder 'nonsense'. Expected one of: photos"),
        ("", "No set or folder ''"),
        ("/nowhere/at/all", "/nowhere/at/all does not exist"),
    ],
)
def test_what_is_not_there_is_told_and_the_picture_stays(chooser, said, source, words):
    before = chooser.picture
    chooser.controls["source"].value = source
    assert words in said[0]
    assert torch.equal(chooser.picture, before)


def test_a_number_past_the_end_is_refused(chooser):
    with pytest.raises(CodialError, match="There is no picture 320 in photos: it has 320"):
        chooser.choose("photos", 320)
    assert chooser.controls["number"].value == 5


def test_an_empty_set_is_refused(photos):
    empty = replace(photos["train"], images=photos["train"].images[:0], labels=photos["train"].labels[:0])
    with pytest.raises(CodialError, match="There is no picture 0 in photos: it has 0"):
        PictureChooser(empty, 32, lambda action, doing: action())
