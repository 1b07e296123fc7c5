import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from codial.transforms import gaussian_blur


@pytest.mark.parametrize("side", [3, 5, 7, 23])
def test_blur_equals_torchvision_for_each_view(side, photos, generator):
    views = photos["test"].batch(range(6)).float() / 255
    sigma = 0.1 + 1.9 * torch.rand(6, generator=generator)
    expected = [tv.gaussian_blur(v, [side, side], [s, s]) for v, s in zip(views, sigma.tolist(), strict=True)]
    torch.testing.assert_close(gaussian_blur(views, sigma, side), torch.stack(expected), atol=1e-5, rtol=0)


def test_the_variance_of_a_blurred_point_is_sigma_squared():
    """Far from the border, in both directions."""
    point = torch.zeros(2, 3, 41, 41)
    point[:, :, 20, 20] = 1
    blurred = gaussian_blur(point, torch.tensor([1.0, 2.0]), 41)
    offset = torch.arange(41.0) - 20
    torch.testing.assert_close(blurred.sum((-2, -1)), torch.ones(2, 3))
    for axis in (-1, -2):
        variance = (blurred.sum(axis) * offset.square()).sum(-1)
        torch.testing.assert_close(variance, torch.tensor([[1.0] * 3, [4.0] * 3]), atol=1e-3, rtol=0)


def test_a_constant_image_stays_constant_and_the_input_is_unchanged(photos):
    views = photos["test"].batch(range(2)).float() / 255
    before = views.clone()
    gaussian_blur(views, torch.tensor([1.0, 2.0]), 7)
    assert torch.equal(views, before)
    constant = torch.full((1, 3, 20, 30), 0.3)
    torch.testing.assert_close(gaussian_blur(constant, torch.tensor([1.5]), 5), constant, atol=1e-6, rtol=0)
