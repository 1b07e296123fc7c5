import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from codial.models import Autoencoder, Repair, damage, enlarge


@pytest.fixture
def networks(tiny, photos, seed):
    """As after some training: statistics of batch norm that are not those of the start."""
    torch.manual_seed(seed)
    autoencoder = Autoencoder(0.25, tiny.model)
    pictures = photos["train"].batch(range(12)) / 255
    for _ in range(3):
        autoencoder.decode(autoencoder.encode(pictures))
    return autoencoder.eval(), Repair(autoencoder.channels, tiny.model), pictures


def mask_of(shape, generator, keep=0.3):
    return (torch.rand(shape, generator=generator) < keep).float()


def test_dropped_cells_hold_the_mean_around_them_and_kept_cells_their_own(generator):
    """SciPy's mean over 3 x 3 with zeros outside, over the part of the 3 x 3 that is within the grid."""
    code, mask = torch.randn(3, 5, 6, 4, generator=generator), mask_of((3, 1, 6, 4), generator)
    found = damage(code, mask)
    size = (1, 1, 3, 3)
    sums = uniform_filter(code.double().numpy(), size, mode="constant")
    within = uniform_filter(np.ones(code.shape), size, mode="constant")
    expected = torch.from_numpy(sums / within).float()
    dropped = (mask == 0).expand_as(code)
    torch.testing.assert_close(found[dropped], expected[dropped])
    assert torch.equal(found[~dropped], code[~dropped])
    assert dropped.any()
    assert not dropped.all()


def test_an_even_code_stays_as_it_is(generator):
    """Also at the border, whose mean is of the cells that are there."""
    code = torch.rand(1, 4, 1, 1, generator=generator).expand(2, 4, 4, 4)
    torch.testing.assert_close(damage(code, torch.zeros(2, 1, 4, 4)), code)


@pytest.mark.parametrize("factor", [2, 16])
def test_a_cell_of_the_mask_becomes_a_square(factor, generator):
    mask = mask_of((2, 1, 4, 3), generator)
    expected = np.kron(mask.numpy(), np.ones((1, 1, factor, factor)))
    assert np.array_equal(enlarge(mask, factor).numpy(), expected)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_with_nothing_dropped_the_repaired_picture_is_the_autoencoders_own(networks, bf16, training):
    """Bit for bit: the frozen decoder does in the repair network what it does alone, activations included."""
    autoencoder, repair, pictures = networks
    repair.train(training)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        code = autoencoder.encode(pictures)
        mask = torch.ones(12, 1, 4, 4)
        repaired = repair(autoencoder, damage(code, mask), mask)
        assert torch.equal(repaired, autoencoder.decode(code))
    assert not torch.equal(repaired[0], repaired[1])


@torch.no_grad()
def test_a_layer_changes_what_was_dropped_alone(networks, generator):
    _, repair, _ = networks
    for layer, channels, side in zip(repair.layers, (128, 64, 32, 16, 8), (4, 8, 16, 32, 64), strict=True):
        x, mask = torch.randn(2, channels, side, side, generator=generator), mask_of((2, 1, side, side), generator)
        found, kept = layer(x, mask), (mask == 1).expand_as(x)
        assert torch.equal(found[kept], x[kept])
        assert (found[~kept] != x[~kept]).float().mean() > 0.99


@torch.no_grad()
def test_a_layer_keeps_the_type_that_the_decoder_has(networks, generator):
    """A kept cell in float32 would be decoded to other digits than the autoencoder's own in bfloat16."""
    _, repair, _ = networks
    x, mask = torch.randn(2, 64, 8, 8, generator=generator).bfloat16(), mask_of((2, 1, 8, 8), generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert repair.layers[1](x, mask).dtype == torch.bfloat16


@torch.no_grad()
def test_a_layer_is_told_the_mask(networks, generator):
    """What is put into a dropped cell depends on whether its neighbours were dropped, too."""
    _, repair, _ = networks
    repair.eval()
    layer, x = repair.layers[1], torch.randn(1, 64, 8, 8, generator=generator)
    alone, many = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    alone[..., 4, 4] = 0
    assert not torch.allclose(layer(x, alone)[..., 4, 4], layer(x, many)[..., 4, 4], atol=1e-4)
