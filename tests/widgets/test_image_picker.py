"""Selecting an image of a data set or a file, and errors."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from PIL import Image

from codial.errors import CodialError
from codial.widgets.image_picker import ImagePicker


@pytest.fixture
def messages():
    return []


@pytest.fixture
def picker(photos, messages):
    """A picker whose panel collects errors, as the explorer does."""

    def act(action, message):
        if not acting:
            acting.append(1)
            try:
                action()
                messages.append("")
            except CodialError as error:
                messages.append(str(error))
            acting.clear()

    acting = []
    return ImagePicker(photos["train"], 32, act, number=5)


def jpeg(color):
    content = io.BytesIO()
    Image.new("RGB", (90, 60), color).save(content, "jpeg")
    return content.getvalue()


def uploaded(picker, name, content):
    picker.controls["upload"].value = (
        {
            "name": name,
            "type": "image/jpeg",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(UTC),
        },
    )


def test_it_starts_with_the_given_image(picker, photos):
    assert torch.equal(picker.image, photos["train"].batch([5])[0])
    assert picker.controls["source"].value == "photos"
    assert picker.controls["count"].value == "of 320"


def test_numbers_can_be_typed_or_stepped_through_cyclically(picker, photos, messages):
    picker.controls["number"].value = 319
    picker.controls["next"].click()
    assert picker.controls["number"].value == 0
    picker.controls["previous"].click()
    assert torch.equal(picker.image, photos["train"].batch([319])[0])
    assert messages == ["", "", ""]


def test_a_folder_and_a_file_are_opened_by_path(picker, tmp_path, messages):
    for index, color in enumerate(("red", "blue")):
        (tmp_path / f"{index}.jpg").write_bytes(jpeg(color))
    picker.controls["source"].value = str(tmp_path)
    assert picker.controls["count"].value == "of 2"
    assert picker.image.shape == (3, 96, 96)
    picker.controls["source"].value = f"  {tmp_path / '1.jpg'} "
    assert picker.controls["count"].value == "of 1"
    assert picker.image.shape == (3, 64, 64), "twice the view's side"
    assert picker.image.float().mean((1, 2)).argmax() == 2, "blue"
    picker.controls["source"].value = "photos"
    assert picker.controls["count"].value == "of 4,000"
    assert messages == ["", "", ""]


def test_a_file_can_be_uploaded_repeatedly(picker, messages):
    for color, channel in (("red", 0), ("lime", 1), ("lime", 1)):
        uploaded(picker, "mine.jpg", jpeg(color))
        assert picker.image.float().mean((1, 2)).argmax() == channel
        assert picker.controls["upload"].value == ()
    assert picker.controls["source"].value == "mine.jpg"
    assert messages == ["", "", ""]


def test_a_damaged_file_is_refused_and_the_image_stays(picker, messages):
    before = picker.image
    uploaded(picker, "mine.jpg", jpeg("red")[:100])
    uploaded(picker, "empty.jpg", b"")
    assert "mine.jpg could not be decoded" in messages[0]
    assert "empty.jpg could not be decoded: the file is empty" in messages[1]
    assert torch.equal(picker.image, before)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nonsense", "No data set or folder 'nonsense'. Expected one of: photos"),
        ("", "No data set or folder ''"),
        ("/nowhere/at/all", "/nowhere/at/all does not exist"),
    ],
)
def test_a_missing_source_is_refused_and_the_image_stays(picker, messages, source, message):
    before = picker.image
    picker.controls["source"].value = source
    assert message in messages[0]
    assert torch.equal(picker.image, before)


def test_a_number_past_the_end_is_refused(picker):
    with pytest.raises(CodialError, match="There is no image 320 in photos: it has 320"):
        picker.select("photos", 320)
    assert picker.controls["number"].value == 5


def test_an_empty_data_set_is_refused(photos):
    empty = replace(photos["train"], images=photos["train"].images[:0], labels=photos["train"].labels[:0])
    with pytest.raises(CodialError, match="There is no image 0 in photos: it has 0"):
        ImagePicker(empty, 32, lambda action, message: action())
