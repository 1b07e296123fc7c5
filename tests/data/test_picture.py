import numpy as np
import pytest
import torch
from PIL import Image

from codial.data.picture import load_picture
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
