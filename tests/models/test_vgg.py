import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from codial.config import ModelConfig
from codial.models import Vgg

MODEL = ModelConfig(bn_eps=1e-5)


@pytest.mark.parametrize(("depth", "letter"), [(11, "A"), (16, "D")])
def test_maps_equal_torchvisions(depth, letter, seed):
    """With the same weights, before the last pooling of torchvision's VGG, whose classifier would take half a GB."""
    torch.manual_seed(seed)
    ours, theirs = Vgg(depth, 1.0, MODEL).eval(), make_layers(cfgs[letter], batch_norm=True).eval()[:-1]
    kinds = nn.Conv2d | nn.BatchNorm2d
    pairs = zip(*([m for m in net.modules() if isinstance(m, kinds)] for net in (ours, theirs)), strict=True)
    with torch.no_grad():
        for source, target in pairs:
            target.weight.copy_(source.weight)
            target.bias.zero_()
        images = torch.randn(2, 3, 48, 48)
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-4)


def test_each_block_halves_the_side_and_has_its_channels():
    net = Vgg(11, 0.25, MODEL).eval()
    assert net.channels == (16, 32, 64, 128, 128)
    for block, side in zip(range(1, 6), (50, 25, 12, 6, 3), strict=True):
        maps = net(torch.randn(1, 3, 50, 50), block)
        assert maps.shape == (1, net.channels[block - 1], side, side)
        assert maps.min() == 0


def test_batch_norm_has_the_settings_of_the_config():
    norms = [m for m in Vgg(16, 0.1, ModelConfig()).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 13
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.025)}
