"""Data sets from arrays and from pairs: layouts, ranges and orientation, and torchvision's own data sets."""

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data import from_arrays, from_pairs, load_images
from codial.errors import CodialError

PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)  # [N, H, W, 3]


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
        PIXELS / 255,
        torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255,
        list(PIXELS),
    ],
)
def test_layouts_and_ranges_give_the_same_images(images):
    assert torch.equal(from_arrays(images).images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))


@pytest.mark.parametrize("gray", [PIXELS[..., 0], PIXELS[..., :1], PIXELS[:, None, :, :, 0]])
def test_gray_images_become_rgb(gray):
    images = from_arrays(gray).images
    assert torch.equal(images, torch.from_numpy(PIXELS[..., 0])[:, None].expand(-1, 3, -1, -1))


def test_labels_and_classes():
    images = from_arrays(PIXELS, np.array([2, -1], dtype=np.int16))
    assert images.labels.tolist() == [2, -1]
    assert images.classes == ("0", "1", "2")
    assert from_arrays(PIXELS, [1, 0], ["a", "b"]).classes == ("a", "b")
    unlabeled = from_arrays(PIXELS, name="mine", split="test")
    assert unlabeled.labels.tolist() == [-1, -1]
    assert (unlabeled.classes, unlabeled.name, unlabeled.split) == ((), "mine", "test")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS.astype(np.int64), None, r"images is torch.int64 \[2, 4, 5, 3\]; expected uint8 or floats"),
        (PIXELS[..., :2], None, r"images is torch.uint8 \[2, 4, 5, 2\]"),
        (PIXELS.astype(float), None, r"images run from 0 to 119; expected uint8, or floats in \[0, 1\]"),
        (PIXELS / 255 * np.nan, None, r"images run from nan to nan"),
        (PIXELS, [0.5, 1], r"labels is torch.float64 \[2\]; expected \[N\] whole numbers"),
        (PIXELS, [[0], [1]], r"labels is torch.int64 \[2, 1\]"),
        (PIXELS, [0], r"labels is torch.int64 \[1\]; expected torch.int64 \[2\]"),
    ],
)
def test_other_arrays_are_refused(images, labels, message):
    with pytest.raises(CodialError, match=message):
        from_arrays(images, labels)


def test_torchvisions_data_sets_are_pairs(tmp_path, photos):
    from torchvision.datasets import FakeData, ImageFolder

    fake = FakeData(6, (3, 16, 16), 4, random_offset=1)
    pixels = np.stack([np.array(fake[i][0]) for i in range(6)])
    images = from_pairs(fake)
    assert torch.equal(images.images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert images.labels.tolist() == [int(fake[i][1]) for i in range(6)]
    for number, image in enumerate(photos["train"].images[:4]):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((40 + number, 50)).save(path)
    images, expected = from_pairs(ImageFolder(tmp_path), size=24), load_images(tmp_path, "all", size=24)
    assert torch.equal(images.images, expected.images)
    assert (images.classes, images.labels.tolist()) == (("a", "b"), [0, 0, 1, 1])
    with pytest.raises(CodialError, match="images of 4 sizes; expected one size: pass size=96"):
        from_pairs(ImageFolder(tmp_path))


def test_orientation_is_undone(tmp_path):
    file = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0]).resize((30, 20)).save(file, exif=exif)
    with Image.open(file) as image:
        assert from_pairs([(image, 0)]).image_size == (30, 20)
        expected = load_images(tmp_path, "all", size=20).images
        assert torch.equal(from_pairs([(image.copy(), 0)], size=20).images, expected)


@pytest.mark.parametrize("item", [3, (1, 2), (torch.zeros(3, 8, 8), 0), (Image.new("RGB", (4, 4)),)])
def test_other_items_are_refused(item):
    with pytest.raises(CodialError, match=r"pairs\[0\] is .*; expected a Pillow image and a label"):
        from_pairs([item])
