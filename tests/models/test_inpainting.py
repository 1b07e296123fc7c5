import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, leaky_relu

from codial.config import ModelConfig
from codial.models import Inpainter, PatchDiscriminator

SMALL = ModelConfig(width=0.1, bn_momentum=0.1)


@pytest.fixture
def judge(seed):
    torch.manual_seed(seed)
    return PatchDiscriminator(0.1)


def layers(judge):
    return [*judge.convs[::2], judge.last]


def raw(layer):
    """The weights before they are divided, as a matrix with a row for each output."""
    return layer.parametrizations.weight.original.detach().flatten(1)


# Discriminator


def test_weights_are_divided_by_their_largest_singular_value(judge, generator):
    pairs = torch.rand(2, 6, 16, 16, generator=generator)
    for _ in range(60):
        judge.train()(pairs)
    judge.eval()
    for layer in layers(judge):
        values = torch.linalg.svdvals(raw(layer).double())
        expected = raw(layer) / values[0].float()
        torch.testing.assert_close(layer.weight.detach().flatten(1), expected, rtol=2e-3, atol=1e-5)
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() == pytest.approx(1, abs=2e-3)


def test_scores_are_of_the_divided_weights(judge, generator):
    judge.eval()
    x = pairs = torch.randn(3, 6, 16, 16, generator=generator)
    for conv, stride in zip(judge.convs[::2], (1, 2, 1, 2, 1), strict=True):
        assert conv.weight.shape[-1] == 3 + (stride == 2)
        x = leaky_relu(conv2d(x, conv.weight, conv.bias, stride, 1), 0.1)
    expected = (x.sum((2, 3)) * judge.last.weight).sum(1) + judge.last.bias
    torch.testing.assert_close(judge(pairs), expected)
    assert judge(pairs).shape == (3,)


def test_a_call_in_training_mode_takes_one_step_of_the_power_iteration(judge, generator):
    pairs = torch.randn(2, 6, 16, 16, generator=generator)
    for layer in layers(judge):  # as after a step of training that changed the weights
        with torch.no_grad():
            layer.parametrizations.weight.original.add_(torch.randn(layer.weight.shape, generator=generator))
    before = [layer.parametrizations.weight[0]._v.clone() for layer in layers(judge)]
    judge.train()(pairs)
    for layer, v in zip(layers(judge), before, strict=True):
        u = raw(layer) @ v
        expected = raw(layer).T @ (u / u.norm())
        torch.testing.assert_close(layer.parametrizations.weight[0]._v, expected / expected.norm())
    kept = {k: v.clone() for k, v in judge.state_dict().items()}
    judge.eval()(pairs)
    assert all(torch.equal(v, kept[k]) for k, v in judge.state_dict().items())


def test_norms_are_estimated_in_full_precision_under_autocast(judge, generator):
    pairs = torch.randn(2, 6, 16, 16, generator=generator)
    states = []
    start = {k: v.clone() for k, v in judge.state_dict().items()}
    for half in (False, True):
        judge.load_state_dict(start)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            scores = judge.train()(pairs)
        assert scores.dtype == torch.float32
        states.append({k: v.clone() for k, v in judge.state_dict().items()})
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


# Inpainter


@pytest.mark.parametrize("side", [8, 16, 40])
def test_patches_keep_their_shape_and_range(side, generator):
    patches = torch.randn(3, 3, side, side, generator=generator)
    painted = Inpainter(0.1, SMALL)(patches)
    assert painted.shape == patches.shape
    assert painted.abs().max() <= 1
    assert painted.std() > 0.01


def test_its_layers_are_the_originals(seed):
    """Channels 48 to 384 and back, 4 x 4 kernels that halve and double, 3 x 3 at the ends; norm on the six between."""
    torch.manual_seed(seed)
    found = Inpainter(1.0, ModelConfig())
    convs = [m for m in found.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in convs] == [
        (3, 48, 3, 1), (48, 96, 4, 2), (96, 192, 4, 2), (192, 384, 4, 2),
        (384, 192, 4, 2), (192, 96, 4, 2), (96, 48, 4, 2), (48, 3, 3, 1),
    ]  # fmt: skip
    norms = [m for m in found.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [96, 192, 384, 192, 96, 48]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.025)}
    assert {m.negative_slope for m in found.modules() if isinstance(m, nn.LeakyReLU)} == {0.1}
    for conv in convs:  # Glorot and Bengio: uniform with deviation sqrt(2 / (inputs + outputs)) of a place's taps
        taps = conv.kernel_size[0] ** 2
        expected = (2 / (taps * (conv.in_channels + conv.out_channels))) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_it_learns_to_return_what_it_sees(few, seed):
    torch.manual_seed(seed)
    patches = few.images[:16, :, 8:24, 8:24] / 127.5 - 1
    painter = Inpainter(0.2, SMALL)
    optimiser, losses = torch.optim.Adam(painter.parameters(), 2e-3, (0.5, 0.999)), []
    for _ in range(120):
        loss = (painter(patches) - patches).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.15 * patches.var().item() < losses[0]
