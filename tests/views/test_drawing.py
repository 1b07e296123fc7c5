"""What is drawn for each picture and view, before any pixel is touched: torchvision's boxes, and even distributions."""

from collections import Counter
from itertools import permutations
from math import log

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torchvision.transforms import RandomResizedCrop

from codial.config import ViewsConfig
from codial.views import control_points, draw
from codial.views.colour import BRIGHTNESS, CONTRAST, SATURATION

UNLIKELY = 1e-3  # a p-value; the seed is fixed, so a test that passes once passes always


@pytest.mark.parametrize(("height", "width"), [(6000, 6000), (4000, 6000)])
def test_boxes_are_drawn_as_torchvisions_random_resized_crop(height, width, seed):
    """Large pictures, so that torchvision's whole pixels do not show."""
    count = 1500
    boxes = draw(count, (height, width), ViewsConfig(primary=("turn0",)), torch.Generator().manual_seed(seed)).box[:, 0]
    left, top, wide, high = boxes.double().T.numpy()
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + wide <= width * (1 + 1e-6)).all()
    assert (top + high <= height * (1 + 1e-6)).all()
    torch.manual_seed(seed)
    picture = torch.empty(3, height, width, dtype=torch.uint8, device="meta")
    theirs = [RandomResizedCrop.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(count)]
    top_t, left_t, high_t, wide_t = np.array(theirs, dtype=float).T
    assert kstest(wide * high, wide_t * high_t).pvalue > UNLIKELY
    assert kstest(np.log(wide / high), np.log(wide_t / high_t)).pvalue > UNLIKELY
    assert kstest(left, left_t).pvalue > UNLIKELY
    assert kstest(top, top_t).pvalue > UNLIKELY
    assert kstest(left / (width - wide), "uniform").pvalue > UNLIKELY


def test_small_boxes_have_uniform_area_and_log_uniform_aspect(generator):
    """Where every try fits, the drawn distributions are seen as they are."""
    config = ViewsConfig(primary=("turn0", "warp"), crop_area=(0.08, 0.5))
    boxes = draw(2000, (64, 64), config, generator).box.flatten(0, 1).double().numpy()
    area, aspect = boxes[:, 2] * boxes[:, 3] / 64**2, boxes[:, 2] / boxes[:, 3]
    assert kstest(area, "uniform", (0.08, 0.42)).pvalue > UNLIKELY
    assert kstest(np.log(aspect), "uniform", (log(3 / 4), 2 * log(4 / 3))).pvalue > UNLIKELY


@pytest.mark.parametrize(("height", "width"), [(30, 300), (300, 30)])
def test_where_no_box_fits_the_middle_is_taken_as_torchvision_does(height, width, generator):
    config = ViewsConfig(primary=("turn0", "warp"), crop_area=(0.9, 1.0))
    left, top, wide, high = draw(3, (height, width), config, generator).box.view(-1, 4).T
    picture = torch.empty(3, height, width, device="meta")
    expected = RandomResizedCrop.get_params(picture, (0.9, 1.0), (3 / 4, 4 / 3))
    assert torch.stack((top, left, high, wide), 1).tolist() == [pytest.approx(expected, abs=0.01)] * 6


def test_flips_come_at_their_rate(generator):
    flips = draw(4000, (64, 64), ViewsConfig(flip=0.3), generator).flip
    assert abs(flips.double().mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert not draw(100, (64, 64), ViewsConfig(flip=0), generator).flip.any()
    assert draw(100, (64, 64), ViewsConfig(flip=1), generator).flip.all()


def test_colour_factors_are_uniform_within_their_reach(generator):
    config = ViewsConfig(brightness=0.4, contrast=0.5, saturation=0.25, hue=0.3)
    factors = draw(800, (64, 64), config, generator).factors.flatten(0, 1).double().numpy()
    for place, (low, span) in enumerate(((0.6, 0.8), (0.5, 1.0), (0.75, 0.5), (-0.3, 0.6))):
        assert kstest(factors[:, place], "uniform", (low, span)).pvalue > UNLIKELY
    assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 0.07


def test_grey_comes_at_its_rate_and_leaves_the_other_factors_uniform(generator):
    config = ViewsConfig(saturation=0.25, grey=0.3)
    factors = draw(800, (64, 64), config, generator).factors.flatten(0, 1).double().numpy()
    grey = factors[:, SATURATION] == 0
    assert abs(grey.mean() - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5
    assert kstest(factors[~grey, SATURATION], "uniform", (0.75, 0.5)).pvalue > UNLIKELY
    for place in (BRIGHTNESS, CONTRAST):
        assert kstest(factors[grey, place], "uniform", (0.5, 1.0)).pvalue > UNLIKELY


def test_each_of_24_orders_comes_as_often(generator):
    orders = Counter(map(tuple, draw(1000, (64, 64), ViewsConfig(), generator).order.flatten(0, 1).tolist()))
    assert sorted(orders) == sorted(permutations(range(4)))
    assert chisquare(list(orders.values())).pvalue > UNLIKELY


def test_blur_comes_at_its_rate_with_uniform_sigma(generator):
    sigma = draw(800, (64, 64), ViewsConfig(blur=0.5, blur_sigma=(0.1, 2.0)), generator).sigma.flatten()
    blurred = sigma[sigma > 0]
    assert abs(len(blurred) / 4000 - 0.5) < 4 * (0.25 / 4000) ** 0.5
    assert kstest(blurred.double().numpy(), "uniform", (0.1, 1.9)).pvalue > UNLIKELY
    assert not draw(100, (64, 64), ViewsConfig(blur=0), generator).sigma.any()


@pytest.mark.parametrize(("size", "part"), [(64, 0.1), (48, 0.05)])
def test_warp_offsets_are_uniform_within_a_part_of_the_size(size, part, generator):
    offsets = draw(300, (64, 64), ViewsConfig(size=size, warp_offset=part), generator).offsets.double().numpy()
    assert offsets.shape == (300, 16, 2)
    assert 0.998 * part * size < np.abs(offsets).max() <= part * size * (1 + 1e-6)
    for axis in range(2):
        assert kstest(offsets[..., axis].ravel(), "uniform", (-part * size, 2 * part * size)).pvalue > UNLIKELY
    assert abs(np.corrcoef(offsets[..., 0].ravel(), offsets[..., 1].ravel())[0, 1]) < 0.06


def test_control_points_are_the_grid_or_anywhere(generator):
    grid = draw(3, (64, 64), ViewsConfig(size=48), generator).points
    torch.testing.assert_close(grid, control_points(48).float().expand(3, 16, 2))
    anywhere = draw(300, (64, 64), ViewsConfig(size=48, warp_placement="random"), generator).points
    assert kstest(anywhere.double().numpy().ravel(), "uniform", (0, 47)).pvalue > UNLIKELY


def test_what_is_drawn_for_pictures_and_views_is_independent(generator):
    """No two numbers come from one draw."""
    drawn = draw(1500, (64, 64), ViewsConfig(blur=1, warp_placement="random", crop_area=(0.08, 0.5)), generator)
    columns = [drawn.flip.double().unsqueeze(1), drawn.offsets.flatten(1), drawn.points.flatten(1)]
    columns += [drawn.box.flatten(1)[:, [2, 6]], drawn.factors.flatten(1), drawn.sigma]
    table = torch.cat([c.double() for c in columns], 1).numpy()
    assert np.abs(np.corrcoef(table.T) - np.eye(table.shape[1])).max() < 0.13  # 5 standard errors
