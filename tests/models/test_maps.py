"""Trunks on pictures of any size."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, pad

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import CONV_TAPS, TAPS, AlexNet, LabHalves, SobelAlexNet, alexnet

CASES = [
    (AlexNet, "low", 64),
    (AlexNet, "low", 32),
    (AlexNet, "low", 48),
    (AlexNet, "full", 96),
    (SobelAlexNet, "low", 64),
    (LabHalves, "low", 64),
]


def lively(kind, resolution, size):
    """A trunk whose every layer matters, without padding's traces where nothing is seen."""
    torch.manual_seed(5)
    trunk = kind(ModelConfig(width=0.1, resolution=resolution), size).eval()
    for module in trunk.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight.data.abs_().mul_(5)
    return trunk


@pytest.mark.parametrize(("kind", "resolution", "size"), CASES)
def test_at_the_trunks_own_size_maps_are_its_taps(kind, resolution, size):
    trunk, images = lively(kind, resolution, size), torch.rand(2, 3, size, size)
    taps = trunk.taps(images)
    for name in CONV_TAPS:
        torch.testing.assert_close(trunk.maps(images, name), taps[name])
    place = trunk.maps(images, "fc7").shape[-1] // 2  # what the window there sees is the whole picture
    for name in ("fc6", "fc7"):
        torch.testing.assert_close(trunk.maps(images, name)[..., place, place], taps[name])


@pytest.mark.parametrize("sides", [(96, 64), (70, 101), (64, 83), (35, 33)])
def test_oblong_pictures_give_what_a_plain_convolution_gives(sides):
    trunk, images = lively(AlexNet, "low", 64), torch.rand(1, 3, *sides)
    first, (high, wide) = trunk.conv1, sides
    totals = [max((-(-side // 4) - 1) * 4 + 11 - side, 0) for side in (wide, high)]
    outside = [n for total in totals for n in (total // 2, total - total // 2)]
    plain = torch.nn.functional.conv2d(pad((images - first.mean) / first.std, outside), first.conv.weight, stride=4)
    torch.testing.assert_close(trunk.maps(images, "conv1"), torch.relu(first.norm(plain)))
    assert trunk.maps(images).shape[-2:] == (-(-high // 16), -(-wide // 16))


@pytest.mark.parametrize("resolution", ["low", "full"])
def test_turning_an_oblong_picture_over_turns_its_maps(resolution):
    trunk, images = lively(AlexNet, resolution, 96), torch.rand(1, 3, 160, 96)
    turned = lively(AlexNet, resolution, 96)
    for module in turned.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.mT.contiguous()
    torch.testing.assert_close(turned.maps(images.mT), trunk.maps(images).mT)


@pytest.mark.parametrize(("kind", "resolution", "size"), [case for case in CASES if case[0] is not SobelAlexNet])
@pytest.mark.parametrize("layer", TAPS)
def test_the_grid_is_where_the_places_look(kind, resolution, size, layer, monkeypatch):
    """The pixels on which a place depends lie evenly around the centre that `grid` says, and move by its step."""
    monkeypatch.setattr(alexnet, "max_pool2d", avg_pool2d)  # a maximum would look at one pixel of nine
    trunk = lively(kind, resolution, size)
    images = torch.rand(1, 3, 512, 512).requires_grad_()
    maps, (step, first) = trunk.maps(images, layer), trunk.grid(layer)
    middle = maps.shape[-1] // 2
    for place in (middle, middle + 1):
        (seen,) = torch.autograd.grad(maps[..., middle, place].sum(), images, retain_graph=True)
        columns = seen.abs().amax((0, 1, 2)).nonzero()[:, 0]
        assert (columns[0] + columns[-1]) / 2 == pytest.approx(first + step * place, abs=step / 8)


def test_a_layer_that_is_none():
    trunk = AlexNet(ModelConfig(width=0.05), 32)
    for ask in (lambda: trunk.maps(torch.zeros(1, 3, 32, 32), "fc8"), lambda: trunk.grid("fc8")):
        with pytest.raises(CodialError, match=r"Layers are \['fc8'\]; expected some of conv1, "):
            ask()
