"""Feature maps of images of any size."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, pad

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import AlexNet, LabAlexNet, SobelAlexNet, alexnet
from codial.models.alexnet import CONV_LAYERS, LAYERS

CASES = [
    (AlexNet, "low", 64),
    (AlexNet, "low", 32),
    (AlexNet, "low", 48),
    (AlexNet, "full", 96),
    (SobelAlexNet, "low", 64),
    (LabAlexNet, "low", 64),
]


def positive_backbone(kind, resolution, size):
    """A backbone with positive weights, so that no activation vanishes."""
    torch.manual_seed(5)
    backbone = kind(ModelConfig(width=0.1, resolution=resolution), size).eval()
    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.weight.data.abs_().mul_(5)
    return backbone


@pytest.mark.parametrize(("kind", "resolution", "size"), CASES)
def test_at_the_size_of_the_backbone_maps_equal_features(kind, resolution, size):
    backbone, images = positive_backbone(kind, resolution, size), torch.rand(2, 3, size, size)
    features = backbone.features(images)
    for name in CONV_LAYERS:
        torch.testing.assert_close(backbone.maps(images, name), features[name])
    center = backbone.maps(images, "fc7").shape[-1] // 2  # the unit whose window covers the image
    for name in ("fc6", "fc7"):
        torch.testing.assert_close(backbone.maps(images, name)[..., center, center], features[name])


@pytest.mark.parametrize("sides", [(96, 64), (70, 101), (64, 83), (35, 33)])
def test_conv1_on_any_size_equals_a_plain_convolution(sides):
    backbone, images = positive_backbone(AlexNet, "low", 64), torch.rand(1, 3, *sides)
    first, (height, width) = backbone.conv1, sides
    totals = [max((-(-side // 4) - 1) * 4 + 11 - side, 0) for side in (width, height)]
    padding = [n for total in totals for n in (total // 2, total - total // 2)]
    plain = torch.nn.functional.conv2d(pad((images - first.mean) / first.std, padding), first.conv.weight, stride=4)
    torch.testing.assert_close(backbone.maps(images, "conv1"), torch.relu(first.norm(plain)))
    assert backbone.maps(images).shape[-2:] == (-(-height // 16), -(-width // 16))


@pytest.mark.parametrize("resolution", ["low", "full"])
def test_transposed_images_give_transposed_maps(resolution):
    backbone, images = positive_backbone(AlexNet, resolution, 96), torch.rand(1, 3, 160, 96)
    transposed = positive_backbone(AlexNet, resolution, 96)
    for module in transposed.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.mT.contiguous()
    torch.testing.assert_close(transposed.maps(images.mT), backbone.maps(images).mT)


@pytest.mark.parametrize(("kind", "resolution", "size"), [case for case in CASES if case[0] is not SobelAlexNet])
@pytest.mark.parametrize("layer", LAYERS)
def test_grid_gives_the_centers_of_the_receptive_fields(kind, resolution, size, layer, monkeypatch):
    """The pixels on which a unit depends are centered as `grid` says and move by its stride."""
    monkeypatch.setattr(alexnet, "max_pool2d", avg_pool2d)  # the gradient of a maximum reaches one pixel of nine
    backbone = positive_backbone(kind, resolution, size)
    images = torch.rand(1, 3, 512, 512).requires_grad_()
    maps, (stride, first) = backbone.maps(images, layer), backbone.grid(layer)
    middle = maps.shape[-1] // 2
    for column in (middle, middle + 1):
        (gradient,) = torch.autograd.grad(maps[..., middle, column].sum(), images, retain_graph=True)
        pixels = gradient.abs().amax((0, 1, 2)).nonzero()[:, 0]
        assert (pixels[0] + pixels[-1]) / 2 == pytest.approx(first + stride * column, abs=stride / 8)


def test_an_unknown_layer_is_refused():
    backbone = AlexNet(ModelConfig(width=0.05), 32)
    for request in (lambda: backbone.maps(torch.zeros(1, 3, 32, 32), "fc8"), lambda: backbone.grid("fc8")):
        with pytest.raises(CodialError, match=r"Layers are \['fc8'\]; expected some of conv1, "):
            request()
