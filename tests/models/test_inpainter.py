import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, leaky_relu

from codial.config import ModelConfig
from codial.models import Inpainter, PatchDiscriminator

SMALL = ModelConfig(width=0.1, bn_momentum=0.1)


@pytest.fixture
def discriminator(seed):
    torch.manual_seed(seed)
    return PatchDiscriminator(0.1)


def layers(discriminator):
    return [*discriminator.convs[::2], discriminator.last]


def raw(layer):
    """The weights before normalization, as a matrix with a row for each output."""
    return layer.parametrizations.weight.original.detach().flatten(1)


# Discriminator


def test_weights_are_normalized_by_their_largest_singular_value(discriminator, generator):
    pairs = torch.rand(2, 6, 16, 16, generator=generator)
    for _ in range(60):
        discriminator.train()(pairs)
    discriminator.eval()
    for layer in layers(discriminator):
        values = torch.linalg.svdvals(raw(layer).double())
        expected = raw(layer) / values[0].float()
        torch.testing.assert_close(layer.weight.detach().flatten(1), expected, rtol=2e-3, atol=1e-5)
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() == pytest.approx(1, abs=2e-3)


def test_scores_use_the_normalized_weights(discriminator, generator):
    discriminator.eval()
    x = pairs = torch.randn(3, 6, 16, 16, generator=generator)
    for conv, stride in zip(discriminator.convs[::2], (1, 2, 1, 2, 1), strict=True):
        assert conv.weight.shape[-1] == 3 + (stride == 2)
        x = leaky_relu(conv2d(x, conv.weight, conv.bias, stride, 1), 0.1)
    expected = (x.sum((2, 3)) * discriminator.last.weight).sum(1) + discriminator.last.bias
    torch.testing.assert_close(discriminator(pairs), expected)
    assert discriminator(pairs).shape == (3,)


def test_a_forward_pass_in_training_takes_one_step_of_the_power_iteration(discriminator, generator):
    pairs = torch.randn(2, 6, 16, 16, generator=generator)
    for layer in layers(discriminator):  # as a training step does
        with torch.no_grad():
            layer.parametrizations.weight.original.add_(torch.randn(layer.weight.shape, generator=generator))
    before = [layer.parametrizations.weight[0]._v.clone() for layer in layers(discriminator)]
    discriminator.train()(pairs)
    for layer, v in zip(layers(discriminator), before, strict=True):
        u = raw(layer) @ v
        expected = raw(layer).T @ (u / u.norm())
        torch.testing.assert_close(layer.parametrizations.weight[0]._v, expected / expected.norm())
    state = {k: v.clone() for k, v in discriminator.state_dict().items()}
    discriminator.eval()(pairs)
    assert all(torch.equal(v, state[k]) for k, v in discriminator.state_dict().items())


def test_spectral_norms_are_computed_in_float32_under_autocast(discriminator, generator):
    pairs = torch.randn(2, 6, 16, 16, generator=generator)
    states = []
    start = {k: v.clone() for k, v in discriminator.state_dict().items()}
    for half in (False, True):
        discriminator.load_state_dict(start)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            scores = discriminator.train()(pairs)
        assert scores.dtype == torch.float32
        states.append({k: v.clone() for k, v in discriminator.state_dict().items()})
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


# Inpainter


@pytest.mark.parametrize("side", [8, 16, 40])
def test_patches_keep_their_shape_and_range(side, generator):
    patches = torch.randn(3, 3, side, side, generator=generator)
    inpainted = Inpainter(0.1, SMALL)(patches)
    assert inpainted.shape == patches.shape
    assert inpainted.abs().max() <= 1
    assert inpainted.std() > 0.01


def test_layers_are_those_of_the_original(seed):
    """Channels 48 to 384 and back; 3 x 3 kernels at both ends, 4 x 4 kernels and batch norm between."""
    torch.manual_seed(seed)
    inpainter = Inpainter(1.0, ModelConfig())
    convs = [m for m in inpainter.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in convs] == [
        (3, 48, 3, 1), (48, 96, 4, 2), (96, 192, 4, 2), (192, 384, 4, 2),
        (384, 192, 4, 2), (192, 96, 4, 2), (96, 48, 4, 2), (48, 3, 3, 1),
    ]  # fmt: skip
    norms = [m for m in inpainter.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [96, 192, 384, 192, 96, 48]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.025)}
    assert {m.negative_slope for m in inpainter.modules() if isinstance(m, nn.LeakyReLU)} == {0.1}
    for conv in convs:  # Glorot and Bengio: std = sqrt(2 / (fan-in + fan-out))
        area = conv.kernel_size[0] ** 2
        expected = (2 / (area * (conv.in_channels + conv.out_channels))) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_it_learns_the_identity(few, seed):
    torch.manual_seed(seed)
    patches = few.images[:16, :, 8:24, 8:24] / 127.5 - 1
    inpainter = Inpainter(0.2, SMALL)
    optimizer, losses = torch.optim.Adam(inpainter.parameters(), 2e-3, (0.5, 0.999)), []
    for _ in range(120):
        loss = (inpainter(patches) - patches).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.15 * patches.var().item() < losses[0]
