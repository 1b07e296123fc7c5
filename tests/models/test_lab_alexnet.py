from itertools import product

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import LabAlexNet, to_lab
from codial.models.alexnet import LAYERS
from codial.models.lab_alexnet import _CENTER, _HALF_WIDTH
from codial.transforms import plain_view

SMALL = ModelConfig(width=0.1)


@pytest.fixture
def backbone(seed):
    """With larger weights than at initialization, so that activations differ."""
    backbone = LabAlexNet(SMALL, 32).eval()
    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(seed))
    return backbone


def channels_last(images):
    return images.permute(0, 2, 3, 1).numpy()


def test_lab_equals_scikit_image(few, generator):
    dark = torch.rand(2, 3, 16, 16, generator=generator) * 0.06  # around the thresholds of both piecewise functions
    for images in (plain_view(few.images, 32), torch.rand(2, 3, 16, 16, generator=generator), dark):
        np.testing.assert_allclose(
            channels_last(to_lab(images)), rgb2lab(channels_last(images).astype(np.float64)), atol=2e-3
        )


def test_the_corners_of_the_color_cube_span_from_minus_one_to_one():
    corners = torch.tensor(list(product((0.0, 1.0), repeat=3))).view(-1, 3, 1, 1)
    center, half_width = (torch.tensor(part).view(1, 3, 1, 1) for part in (_CENTER, _HALF_WIDTH))
    scaled = (to_lab(corners) - center) / half_width
    torch.testing.assert_close(scaled.amax((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.amin((0, 2, 3)), -torch.ones(3), atol=1e-3, rtol=0)


def test_features_are_the_concatenated_channels_of_both_halves(backbone, few):
    images = plain_view(few.images[:4], 32)
    lab = torch.from_numpy(rgb2lab(channels_last(images)).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = backbone.features(images)
        first, second = backbone.lightness.features(lab[:, :1]), backbone.color.features(lab[:, 1:])
        assert torch.equal(backbone(images), features["fc7"])
    assert list(features) == list(LAYERS)
    for name in LAYERS:
        expected = torch.cat((first[name], second[name]), 1)
        torch.testing.assert_close(features[name], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert features["fc7"].shape == (4, backbone.feature_dim)
    assert backbone.lightness.feature_dim == backbone.color.feature_dim


def test_each_half_depends_on_its_channels_only(backbone, few):
    """Features of the first half do not depend on the colors."""
    images = plain_view(few.images[:4], 32)
    lab = rgb2lab(channels_last(images).astype(np.float64))
    lab[..., 1:] = 0
    gray = torch.from_numpy(lab2rgb(lab)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        before, after = (backbone(x).chunk(2, 1) for x in (images, gray))
    torch.testing.assert_close(before[0], after[0], rtol=1e-2, atol=1e-3 * float(before[0].abs().max()))
    assert (before[1] - after[1]).abs().mean() > 0.1 * before[1].abs().mean()


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (2, 3, 16, 32), (3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(CodialError, match=r"this backbone takes \[B, 3, 32, 32\]"):
        LabAlexNet(SMALL, 32)(torch.zeros(shape))
