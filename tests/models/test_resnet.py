"""ResNets against torchvision's own, with the same weights."""

import pytest
import torch
from torch import nn

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models.resnet import ResNet18, ResNet50

pytestmark = pytest.mark.numbers("ResNets against torchvision")

FULL = ModelConfig(bn_eps=1e-5, bn_momentum=0.1)  # torchvision's batch norm
TINY = ModelConfig(width=0.125)
LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "pool")


def torchvisions(ours, name):
    """Return torchvision's network with our weights; for small images it gets the stem of SimCLR's appendix B.9."""
    import torchvision

    reference = getattr(torchvision.models, name)(weights=None)
    reference.fc = nn.Identity()
    if ours.size < 96:
        reference.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        reference.maxpool = nn.Identity()
    renamed = (("stem.0.", "conv1."), ("stem.1.", "bn1."))
    weights = ours.state_dict()
    for old, new in renamed:
        weights = {name.replace(old, new) if name.startswith(old) else name: x for name, x in weights.items()}
    reference.load_state_dict(weights)  # strict: the same parameters and shapes
    return reference


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "size"), [(ResNet18, "resnet18", 32), (ResNet18, "resnet18", 96), (ResNet50, "resnet50", 224)]
)
def test_features_equal_torchvisions(kind, name, size, training, generator):
    torch.manual_seed(0)
    ours = kind(FULL, size).train(training)
    reference = torchvisions(ours, name).train(training)
    kept = {}
    for module in ("relu", "layer1", "layer2", "layer3", "layer4"):
        getattr(reference, module).register_forward_hook(lambda _, __, x, name=module: kept.update({name: x.clone()}))
    images = torch.rand(2, 3, size, size, generator=generator)
    with torch.no_grad():
        pooled = reference((images - torch.tensor(FULL.mean).view(3, 1, 1)) / torch.tensor(FULL.std).view(3, 1, 1))
        features = ours.features(images)
    assert tuple(features) == ours.layers == LAYERS
    for layer, expected in zip(LAYERS, (*kept.values(), pooled), strict=True):
        torch.testing.assert_close(features[layer], expected, rtol=1e-3, atol=1e-4)
    assert features["pool"].std() > 0.01, "else nothing is compared"


def test_initial_weights_are_distributed_as_torchvisions():
    """Normal with variance 2 / fan-out; 11,689,512 parameters less the 513,000 of torchvision's classifier."""
    ours = ResNet18(FULL, 96)
    for name, module in ours.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
    assert sum(p.numel() for p in ours.parameters()) == 11_689_512 - 513_000


@pytest.mark.parametrize(("kind", "expansion"), [(ResNet18, 1), (ResNet50, 4)])
def test_a_quarter_of_the_width_has_a_quarter_of_the_channels_of_every_layer(kind, expansion):
    full, quarter = (kind(ModelConfig(width=width), 32) for width in (1, 0.25))
    channels = [
        (module.out_channels, other.out_channels)
        for module, other in zip(full.modules(), quarter.modules(), strict=True)
        if isinstance(module, nn.Conv2d)
    ]
    assert all(wide == 4 * narrow for wide, narrow in channels)
    assert quarter.feature_dim == 128 * expansion
    assert quarter(torch.rand(2, 3, 32, 32)).shape == (2, 128 * expansion)


def test_layers_after_the_last_one_requested_are_not_computed():
    backbone, images = ResNet18(TINY, 32).eval(), torch.rand(2, 3, 32, 32)
    everything = backbone.features(images)
    backbone.layer4 = backbone.pool = None
    some = backbone.features(images, ("layer3", "stem"))
    assert list(some) == ["stem", "layer3"]
    assert all(torch.equal(some[name], everything[name]) for name in some)


@pytest.mark.parametrize(("size", "strides"), [(64, (1, 1, 2, 4, 8)), (96, (2, 4, 8, 16, 32))])
def test_units_lie_where_the_grid_says(size, strides):
    """The gradient of a unit by the pixels is centered at its position in the grid."""
    backbone = ResNet18(TINY, size).eval()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1e-2)
    images = torch.full((1, 3, size, size), 0.9).requires_grad_()
    for layer, stride in zip(backbone.map_layers, strides, strict=True):
        maps = backbone.features(images, (layer,))[layer]
        assert (backbone.grid(layer), maps.shape[-1]) == ((stride, 0), -(-size // stride))
    middle = backbone.features(images, ("layer1",))["layer1"]
    unit = middle.shape[-1] // 2
    (gradient,) = torch.autograd.grad(middle[0, :, unit, unit].sum(), images)
    weights = gradient.abs().sum((0, 1))
    center = (weights.sum(0) * torch.arange(size)).sum() / weights.sum()
    step, first = backbone.grid("layer1")
    assert center.item() == pytest.approx(first + step * unit, abs=0.51 * step)


def test_batch_norm_has_the_configs_settings():
    backbone = ResNet50(ModelConfig(width=0.125, bn_eps=0.01, bn_momentum=0.3), 32)
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.01, 0.3)}
    assert len(norms) == 53


def test_colors_are_normalized_by_the_config():
    backbone = ResNet18(ModelConfig(width=0.125, mean=(0.5, 0.5, 0.5), std=(0.1, 0.2, 0.4)), 32).eval()
    other = ResNet18(ModelConfig(width=0.125, mean=(0, 0, 0), std=(1, 1, 1)), 32).eval()
    other.load_state_dict(backbone.state_dict())  # mean and std are no part of it
    images = torch.rand(2, 3, 32, 32)
    normalized = (images - 0.5) / torch.tensor((0.1, 0.2, 0.4)).view(3, 1, 1)
    torch.testing.assert_close(backbone(images), other(normalized))


def test_channels_last_gives_the_same_features():
    backbone, images = ResNet18(TINY, 32).eval(), torch.rand(2, 3, 32, 32)
    expected = backbone(images)
    found = backbone.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(CodialError, match=r"^Images are \[.*\]; this backbone takes \[B, 3, 32, 32\]\.$"):
        ResNet18(TINY, 32)(torch.zeros(shape))


def test_an_unknown_layer_is_refused_with_the_class_and_its_layers():
    with pytest.raises(CodialError, match=r"Layers are \['fc7'\]; expected some of stem, .* of this ResNet18"):
        ResNet18(TINY, 32).features(torch.zeros(1, 3, 32, 32), ("fc7",))
