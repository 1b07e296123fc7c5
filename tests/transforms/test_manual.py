import pytest
import torch

from codial.config import ViewsConfig
from codial.transforms import render, warp
from codial.transforms.manual import manual_params

PLAIN = ViewsConfig(size=32, primary=("rot0",), brightness=0, contrast=0, saturation=0, hue=0)


@pytest.fixture
def image(photos):
    return photos["train"].batch([0])[:, :, :32, :32]  # as large as the view


def view(image, config=PLAIN, **params):
    height, width = image.shape[-2:]
    return render(image, manual_params((height, width), config.size, **params), config).images[0, 0]


def test_defaults_change_nothing(image):
    torch.testing.assert_close(view(image), image[0].float() / 255, atol=1e-5, rtol=0)


def test_flip_mirrors_the_image(image):
    torch.testing.assert_close(view(image, flip=True), image[0].flip(-1).float() / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("params", "box"),
    [
        ({"area": 0.375}, (8, 24, 48, 48)),  # 0.375 of 64 x 96 is 48 x 48, in the center
        ({"area": 0.375, "position": (0.0, 1.0)}, (0, 48, 48, 48)),  # left, at the bottom
        ({"area": 0.125, "aspect": 4 / 3}, (16, 36, 32, 24)),
        ({"area": 0.5, "aspect": 3.0}, (0, 32, 64, 32)),  # 96 x 32 would be wider than the image: cut to it
    ],
)
def test_the_box_has_the_given_area_aspect_and_position(params, box):
    assert manual_params((96, 64), 32, **params).box[0, 0].tolist() == pytest.approx(box, abs=1e-4)


def test_offsets_warp_as_the_warp_function(image, generator):
    offsets = 3 * torch.rand(16, 2, generator=generator)
    config = ViewsConfig(size=32, primary=("warp",), brightness=0, contrast=0, saturation=0, hue=0)
    expected = warp(image.float() / 255, offsets.unsqueeze(0))[0]
    torch.testing.assert_close(view(image, config, offsets=offsets), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("order", "left", "right"),
    [
        ((0, 1, 2, 3), 0.475, 0.825),  # 0.2 and 0.8 become 0.3 and 1 (not 1.2), then move half-way to their mean 0.65
        ((1, 0, 2, 3), 0.525, 0.975),  # first half-way to 0.5, then brighter
    ],
)
def test_color_operations_are_applied_in_the_given_order(order, left, right):
    gray = torch.full((1, 3, 32, 32), 0.2)
    gray[..., 16:] = 0.8
    changed = view(gray, ViewsConfig(size=32, primary=("rot0",)), factors=(1.5, 0.5, 1.0, 0.0), order=order)
    assert [float(changed[0, 0, 0]), float(changed[2, 0, -1])] == pytest.approx([left, right], abs=1e-3)
