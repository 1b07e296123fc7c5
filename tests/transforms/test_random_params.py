"""Distributions of the sampled parameters: boxes as in torchvision, all else uniform."""

from collections import Counter
from itertools import permutations
from math import log

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torchvision.transforms import RandomResizedCrop

from codial.config import ViewsConfig
from codial.transforms import control_points, sample_params
from codial.transforms.color_jitter import BRIGHTNESS, CONTRAST, SATURATION

UNLIKELY = 1e-3  # p-value; the seed is fixed, so the tests are deterministic


@pytest.mark.parametrize(("height", "width"), [(6000, 6000), (4000, 6000)])
def test_boxes_are_distributed_as_torchvisions_random_resized_crop(height, width, seed):
    """In large images, so that torchvision's rounding to pixels is negligible."""
    count = 1500
    boxes = sample_params(
        count, (height, width), ViewsConfig(primary=("rot0",)), torch.Generator().manual_seed(seed)
    ).box[:, 0]
    left, top, wide, high = boxes.double().T.numpy()
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + wide <= width * (1 + 1e-6)).all()
    assert (top + high <= height * (1 + 1e-6)).all()
    torch.manual_seed(seed)
    image = torch.empty(3, height, width, dtype=torch.uint8, device="meta")
    theirs = [RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(count)]
    top_t, left_t, high_t, wide_t = np.array(theirs, dtype=float).T
    assert kstest(wide * high, wide_t * high_t).pvalue > UNLIKELY
    assert kstest(np.log(wide / high), np.log(wide_t / high_t)).pvalue > UNLIKELY
    assert kstest(left, left_t).pvalue > UNLIKELY
    assert kstest(top, top_t).pvalue > UNLIKELY
    assert kstest(left / (width - wide), "uniform").pvalue > UNLIKELY


def test_small_boxes_have_uniform_area_and_log_uniform_aspect(generator):
    """Small boxes always fit, so the sampled values are not filtered."""
    config = ViewsConfig(primary=("rot0", "warp"), crop_area=(0.08, 0.5))
    boxes = sample_params(2000, (64, 64), config, generator).box.flatten(0, 1).double().numpy()
    area, aspect = boxes[:, 2] * boxes[:, 3] / 64**2, boxes[:, 2] / boxes[:, 3]
    assert kstest(area, "uniform", (0.08, 0.42)).pvalue > UNLIKELY
    assert kstest(np.log(aspect), "uniform", (log(3 / 4), 2 * log(4 / 3))).pvalue > UNLIKELY


@pytest.mark.parametrize(("height", "width"), [(30, 300), (300, 30)])
def test_where_no_box_fits_the_crop_is_centered_as_in_torchvision(height, width, generator):
    config = ViewsConfig(primary=("rot0", "warp"), crop_area=(0.9, 1.0))
    left, top, wide, high = sample_params(3, (height, width), config, generator).box.view(-1, 4).T
    image = torch.empty(3, height, width, device="meta")
    expected = RandomResizedCrop.get_params(image, (0.9, 1.0), (3 / 4, 4 / 3))
    assert torch.stack((top, left, high, wide), 1).tolist() == [pytest.approx(expected, abs=0.01)] * 6


def test_flips_have_their_probability(generator):
    flips = sample_params(4000, (64, 64), ViewsConfig(flip=0.3), generator).flip
    assert abs(flips.double().mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert not sample_params(100, (64, 64), ViewsConfig(flip=0), generator).flip.any()
    assert sample_params(100, (64, 64), ViewsConfig(flip=1), generator).flip.all()


def test_color_factors_are_uniform_in_their_ranges(generator):
    config = ViewsConfig(brightness=0.4, contrast=0.5, saturation=0.25, hue=0.3)
    factors = sample_params(800, (64, 64), config, generator).factors.flatten(0, 1).double().numpy()
    for index, (low, span) in enumerate(((0.6, 0.8), (0.5, 1.0), (0.75, 0.5), (-0.3, 0.6))):
        assert kstest(factors[:, index], "uniform", (low, span)).pvalue > UNLIKELY
    assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 0.07


def test_grayscale_has_its_probability_and_leaves_the_other_factors_uniform(generator):
    config = ViewsConfig(saturation=0.25, grayscale=0.3)
    factors = sample_params(800, (64, 64), config, generator).factors.flatten(0, 1).double().numpy()
    gray = factors[:, SATURATION] == 0
    assert abs(gray.mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert kstest(factors[~gray, SATURATION], "uniform", (0.75, 0.5)).pvalue > UNLIKELY
    for index in (BRIGHTNESS, CONTRAST):
        assert kstest(factors[gray, index], "uniform", (0.5, 1.0)).pvalue > UNLIKELY


def test_all_24_orders_are_equally_frequent(generator):
    orders = Counter(map(tuple, sample_params(1000, (64, 64), ViewsConfig(), generator).order.flatten(0, 1).tolist()))
    assert sorted(orders) == sorted(permutations(range(4)))
    assert chisquare(list(orders.values())).pvalue > UNLIKELY


def test_blur_has_its_probability_and_a_uniform_sigma(generator):
    sigma = sample_params(800, (64, 64), ViewsConfig(blur=0.5, blur_sigma=(0.1, 2.0)), generator).sigma.flatten()
    blurred = sigma[sigma > 0]
    assert abs(len(blurred) / 4000 - 0.5) < 4 * (0.25 / 4000) ** 0.5
    assert kstest(blurred.double().numpy(), "uniform", (0.1, 1.9)).pvalue > UNLIKELY
    assert not sample_params(100, (64, 64), ViewsConfig(blur=0), generator).sigma.any()


@pytest.mark.parametrize(("size", "fraction"), [(64, 0.1), (48, 0.05)])
def test_warp_offsets_are_uniform_within_a_fraction_of_the_size(size, fraction, generator):
    offsets = (
        sample_params(300, (64, 64), ViewsConfig(size=size, warp_offset=fraction), generator).offsets.double().numpy()
    )
    assert offsets.shape == (300, 16, 2)
    assert 0.998 * fraction * size < np.abs(offsets).max() <= fraction * size * (1 + 1e-6)
    for axis in range(2):
        assert kstest(offsets[..., axis].ravel(), "uniform", (-fraction * size, 2 * fraction * size)).pvalue > UNLIKELY
    assert abs(np.corrcoef(offsets[..., 0].ravel(), offsets[..., 1].ravel())[0, 1]) < 0.06


def test_control_points_are_the_grid_or_uniform(generator):
    grid = sample_params(3, (64, 64), ViewsConfig(size=48), generator).points
    torch.testing.assert_close(grid, control_points(48).float().expand(3, 16, 2))
    uniform = sample_params(300, (64, 64), ViewsConfig(size=48, warp_placement="random"), generator).points
    assert kstest(uniform.double().numpy().ravel(), "uniform", (0, 47)).pvalue > UNLIKELY


def test_parameters_of_images_and_views_are_independent(generator):
    """No two of them use the same random number."""
    params = sample_params(
        1500, (64, 64), ViewsConfig(blur=1, warp_placement="random", crop_area=(0.08, 0.5)), generator
    )
    columns = [params.flip.double().unsqueeze(1), params.offsets.flatten(1), params.points.flatten(1)]
    columns += [params.box.flatten(1)[:, [2, 6]], params.factors.flatten(1), params.sigma]
    table = torch.cat([c.double() for c in columns], 1).numpy()
    assert np.abs(np.corrcoef(table.T) - np.eye(table.shape[1])).max() < 0.13  # 5 standard errors
