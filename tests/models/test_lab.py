from itertools import product

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import TAPS, LabHalves, to_lab
from codial.models.lab import _MIDDLE, _REACH
from codial.views import plain_view

SMALL = ModelConfig(width=0.1)


@pytest.fixture
def trunk(seed):
    """With weights that let the taps differ."""
    found = LabHalves(SMALL, 32).eval()
    for module in found.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(seed))
    return found


def last(images):
    return images.permute(0, 2, 3, 1).numpy()


def test_lab_is_scikit_images(few, generator):
    dark = torch.rand(2, 3, 16, 16, generator=generator) * 0.06  # about where both curves change their form
    for images in (plain_view(few.images, 32), torch.rand(2, 3, 16, 16, generator=generator), dark):
        np.testing.assert_allclose(last(to_lab(images)), rgb2lab(last(images).astype(np.float64)), atol=2e-3)


def test_the_corners_of_the_colour_cube_span_from_minus_one_to_one():
    corners = torch.tensor(list(product((0.0, 1.0), repeat=3))).view(-1, 3, 1, 1)
    middle, reach = (torch.tensor(part).view(1, 3, 1, 1) for part in (_MIDDLE, _REACH))
    scaled = (to_lab(corners) - middle) / reach
    torch.testing.assert_close(scaled.amax((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.amin((0, 2, 3)), -torch.ones(3), atol=1e-3, rtol=0)


def test_a_tap_is_both_halves_channels(trunk, few):
    images = plain_view(few.images[:4], 32)
    lab = torch.from_numpy(rgb2lab(last(images)).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = trunk.taps(images)
        first, second = trunk.lightness.taps(lab[:, :1]), trunk.colour.taps(lab[:, 1:])
        assert torch.equal(trunk(images), found["fc7"])
    assert list(found) == list(TAPS)
    for name in TAPS:
        expected = torch.cat((first[name], second[name]), 1)
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert found["fc7"].shape == (4, trunk.features)
    assert trunk.lightness.features == trunk.colour.features


def test_each_half_sees_its_channels_only(trunk, few):
    """Without its colours a picture is the same to the first half."""
    images = plain_view(few.images[:4], 32)
    lab = rgb2lab(last(images).astype(np.float64))
    lab[..., 1:] = 0
    grey = torch.from_numpy(lab2rgb(lab)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        before, after = (trunk(x).chunk(2, 1) for x in (images, grey))
    torch.testing.assert_close(before[0], after[0], rtol=1e-2, atol=1e-3 * float(before[0].abs().max()))
    assert (before[1] - after[1]).abs().mean() > 0.1 * before[1].abs().mean()


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (2, 3, 16, 32), (3, 32, 32)])
def test_other_pictures_are_refused(shape):
    with pytest.raises(CodialError, match=r"this trunk takes \[B, 3, 32, 32\]"):
        LabHalves(SMALL, 32)(torch.zeros(shape))
