import io

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data.picture import as_set, load_picture, picture_of
from codial.errors import CodialError


def test_a_picture_comes_back_square_and_upright(tmp_path):
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:, 10:30, 0] = 255  # the left half of the central square is red
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png", size=40)
    assert (picture.shape, picture.dtype) == ((3, 40, 40), torch.uint8)
    assert picture[0].float().mean(0).div(255).round().tolist() == [1.0] * 20 + [0.0] * 20


def test_a_missing_file_and_a_broken_one_are_told(tmp_path):
    with pytest.raises(CodialError, match=r"There is no picture .*none\.jpg"):
        load_picture(tmp_path / "none.jpg")
    (tmp_path / "bad.jpg").write_text("no picture")
    with pytest.raises(CodialError, match=r"bad\.jpg is no picture that can be read: not a picture"):
        load_picture(tmp_path / "bad.jpg")


def test_a_files_bytes_are_the_same_picture(tmp_path, photos):
    pixels = photos["test"].images[0].permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "webp")
    (tmp_path / "a.webp").write_bytes(content.getvalue())
    assert torch.equal(picture_of(content.getvalue(), "a.webp", 40), load_picture(tmp_path / "a.webp", 40))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"GIF89a", "not a picture"), (b"%PDF-1.7 no picture", "not a picture")],
)
def test_bytes_that_are_no_picture_are_told_by_the_files_name(content, reason):
    with pytest.raises(CodialError, match=rf"^mine\.png is no picture that can be read: {reason}.*Save it as JPEG"):
        picture_of(content, "mine.png")


def test_a_bomb_is_refused(monkeypatch):
    content = io.BytesIO()
    Image.new("L", (200, 200)).save(content, "png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(CodialError, match=r"mine\.png is no picture .*decompression bomb"):
        picture_of(content.getvalue(), "mine.png")


def test_one_picture_is_a_set(photos):
    images = as_set(photos["test"].images[3], "mine.png")
    assert (len(images), images.name, images.labelled) == (1, "mine.png", False)
    assert torch.equal(images.batch([0])[0], photos["test"].images[3])
