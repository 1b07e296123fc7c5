import pytest
import torch

from codial.config import ViewsConfig
from codial.views import render, warp
from codial.views.chosen import by_hand

PLAIN = ViewsConfig(size=32, primary=("turn0",), brightness=0, contrast=0, saturation=0, hue=0)


@pytest.fixture
def picture(photos):
    return photos["train"].batch([0])[:, :, :32, :32]  # one view pixel a picture pixel


def view(picture, config=PLAIN, **chosen):
    height, width = picture.shape[-2:]
    return render(picture, by_hand((height, width), config.size, **chosen), config).images[0, 0]


def test_nothing_chosen_changes_nothing(picture):
    torch.testing.assert_close(view(picture), picture[0].float() / 255, atol=1e-5, rtol=0)


def test_mirror_is_the_mirror_image(picture):
    torch.testing.assert_close(view(picture, flip=True), picture[0].flip(-1).float() / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("chosen", "box"),
    [
        ({"area": 0.375}, (8, 24, 48, 48)),  # 0.375 of 64 x 96 is 48 x 48, in the middle
        ({"area": 0.375, "place": (0.0, 1.0)}, (0, 48, 48, 48)),  # left, at the bottom
        ({"area": 0.125, "aspect": 4 / 3}, (16, 36, 32, 24)),
        ({"area": 0.5, "aspect": 3.0}, (0, 32, 64, 32)),  # 96 x 32 would be wider than the picture: cut to it
    ],
)
def test_the_box_has_the_area_the_aspect_and_the_place(chosen, box):
    assert by_hand((96, 64), 32, **chosen).box[0, 0].tolist() == pytest.approx(box, abs=1e-4)


def test_offsets_warp_as_the_warp_alone_does(picture, generator):
    offsets = 3 * torch.rand(16, 2, generator=generator)
    config = ViewsConfig(size=32, primary=("warp",), brightness=0, contrast=0, saturation=0, hue=0)
    expected = warp(picture.float() / 255, offsets.unsqueeze(0))[0]
    torch.testing.assert_close(view(picture, config, offsets=offsets), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("order", "left", "right"),
    [
        ((0, 1, 2, 3), 0.475, 0.825),  # 0.2 and 0.8 become 0.3 and 1 (not 1.2), then come half-way to their mean 0.65
        ((1, 0, 2, 3), 0.525, 0.975),  # first half-way to 0.5, then brighter
    ],
)
def test_colours_are_changed_in_the_order_given(order, left, right):
    grey = torch.full((1, 3, 32, 32), 0.2)
    grey[..., 16:] = 0.8
    changed = view(grey, ViewsConfig(size=32, primary=("turn0",)), factors=(1.5, 0.5, 1.0, 0.0), order=order)
    assert [float(changed[0, 0, 0]), float(changed[2, 0, -1])] == pytest.approx([left, right], abs=1e-3)
