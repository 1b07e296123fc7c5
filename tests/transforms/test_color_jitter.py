from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from codial.transforms import jitter

ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
ORDERS = list(permutations(range(4)))


def reference(view, factors, order):
    for operation in order:
        view = ADJUST[operation](view, factors[operation])
    return view


def sample_factors(count, generator):
    """Factors in the range of the paper, 0.5 to 1.5, and hue shifts in [-0.5, 0.5]."""
    uniform = torch.rand(count, 4, generator=generator)
    return torch.cat((uniform[:, :3] + 0.5, uniform[:, 3:] - 0.5), 1)


@pytest.mark.parametrize("order", ORDERS, ids=lambda o: "".join("bcsh"[i] for i in o))
def test_every_order_equals_torchvision(order, photos, generator):
    views = photos["train"].batch(range(0, 320, 40)).float() / 255
    factors = sample_factors(len(views), generator)
    got = jitter(views, factors, torch.tensor(order).expand(len(views), 4))
    expected = torch.stack([reference(v, f.tolist(), order) for v, f in zip(views, factors, strict=True)])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_views_with_different_orders_share_a_batch(photos, generator):
    views = photos["train"].batch(range(48)).float() / 255
    factors, order = sample_factors(48, generator), torch.tensor(ORDERS * 2)
    got = jitter(views, factors, order)
    expected = [reference(v, f.tolist(), o) for v, f, o in zip(views, factors, order.tolist(), strict=True)]
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("operation", range(4), ids=["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("extreme", [0, 1])
def test_each_operation_alone_at_its_extremes(operation, extreme, photos):
    views = photos["train"].batch(range(8)).float() / 255
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0])
    factors[operation] = ((0.0, 2.0), (0.0, 2.0), (0.0, 2.0), (-0.5, 0.5))[operation][extreme]
    got = jitter(views, factors.expand(8, 4), torch.arange(4).expand(8, 4))
    torch.testing.assert_close(got, ADJUST[operation](views, float(factors[operation])), atol=1e-5, rtol=0)


def test_pure_grays_and_edges_of_the_color_cube():
    """Where channels are equal, the cases of the hue formula meet; gray has no hue."""
    ticks = torch.linspace(0, 1, 5)
    cube = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij")).view(1, 3, 5, 25)
    for shift in (-0.5, -1 / 3, -0.1, 0.1, 1 / 6, 0.5):
        got = jitter(cube, torch.tensor([[1, 1, 1, shift]]), torch.tensor([[3, 0, 1, 2]]))
        torch.testing.assert_close(got, tv.adjust_hue(cube, shift), atol=1e-5, rtol=0)
    grays = ticks.view(1, 1, 1, 5).expand(1, 3, 5, 5)
    shifted = jitter(grays, torch.tensor([[1, 1, 1, 0.37]]), torch.tensor([[3, 0, 1, 2]]))
    torch.testing.assert_close(shifted, grays, atol=1e-6, rtol=0)


def test_a_hue_shift_of_a_third_maps_red_to_green_to_blue():
    red, green, blue = torch.eye(3).view(3, 1, 3, 1, 1).expand(3, 1, 3, 2, 2)
    third, order = torch.tensor([[1, 1, 1, 1 / 3]]), torch.tensor([[3, 0, 1, 2]])
    torch.testing.assert_close(jitter(red, third, order), green, atol=1e-5, rtol=0)
    torch.testing.assert_close(jitter(green, third, order), blue, atol=1e-5, rtol=0)


def test_neutral_factors_change_nothing_and_the_input_is_unchanged(photos, generator):
    views = photos["train"].batch(range(4)).float() / 255
    before = views.clone()
    neutral = jitter(views, torch.tensor([[1.0, 1, 1, 0]]).expand(4, 4), torch.arange(4).expand(4, 4))
    torch.testing.assert_close(neutral, before, atol=1e-6, rtol=0)
    changed = jitter(views, sample_factors(4, generator), torch.arange(4).expand(4, 4))
    assert torch.equal(views, before)
    assert 0 <= changed.min() <= changed.max() <= 1
    assert changed.data_ptr() != views.data_ptr() != neutral.data_ptr()
