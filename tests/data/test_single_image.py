import io

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data.single_image import as_image_set, decode_image, load_image
from codial.errors import CodialError


def test_an_image_is_loaded_square_and_upright(tmp_path):
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:, 10:30, 0] = 255  # the left half of the central square is red
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", size=40)
    assert (image.shape, image.dtype) == ((3, 40, 40), torch.uint8)
    assert image[0].float().mean(0).div(255).round().tolist() == [1.0] * 20 + [0.0] * 20


def test_a_missing_file_is_named():
    with pytest.raises(CodialError, match=r"No image file .*none\.jpg; expected a path"):
        load_image("none.jpg")


def test_the_bytes_of_a_file_are_the_same_image(tmp_path, photos):
    pixels = photos["test"].images[0].permute(1, 2, 0).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "webp")
    (tmp_path / "a.webp").write_bytes(content.getvalue())
    assert torch.equal(decode_image(content.getvalue(), "a.webp", 40), load_image(tmp_path / "a.webp", 40))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"GIF89a", "not an image"), (b"%PDF-1.7 no image", "not an image")],
)
def test_bytes_that_are_no_image_are_refused_by_the_name_of_the_file(content, reason):
    with pytest.raises(CodialError, match=rf"^mine\.png could not be decoded: {reason}.*Save it as JPEG"):
        decode_image(content, "mine.png")


def test_one_image_is_a_data_set(photos):
    images = as_image_set(photos["test"].images[3], "mine.png")
    assert (len(images), images.name, images.labeled) == (1, "mine.png", False)
    assert torch.equal(images.batch([0])[0], photos["test"].images[3])
