import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from codial.models import Autoencoder, RepairNetwork, drop_cells, upsample_mask


@pytest.fixture
def networks(tiny, photos, seed):
    """With running statistics of batch norm as after some training steps."""
    torch.manual_seed(seed)
    autoencoder = Autoencoder(0.25, tiny.model)
    images = photos["train"].batch(range(12)) / 255
    for _ in range(3):
        autoencoder.decode(autoencoder.encode(images))
    return autoencoder.eval(), RepairNetwork(autoencoder.channels, tiny.model), images


def mask_of(shape, generator, keep=0.3):
    return (torch.rand(shape, generator=generator) < keep).float()


def test_dropped_cells_get_the_mean_of_their_neighborhood(generator):
    """SciPy's mean over 3 x 3 cells with zeros outside, divided by the fraction of cells inside the grid."""
    code, mask = torch.randn(3, 5, 6, 4, generator=generator), mask_of((3, 1, 6, 4), generator)
    filled = drop_cells(code, mask)
    size = (1, 1, 3, 3)
    sums = uniform_filter(code.double().numpy(), size, mode="constant")
    inside = uniform_filter(np.ones(code.shape), size, mode="constant")
    expected = torch.from_numpy(sums / inside).float()
    dropped = (mask == 0).expand_as(code)
    torch.testing.assert_close(filled[dropped], expected[dropped])
    assert torch.equal(filled[~dropped], code[~dropped])
    assert dropped.any()
    assert not dropped.all()


def test_a_constant_code_is_unchanged(generator):
    """Also at the border, where cells outside the grid do not count."""
    code = torch.rand(1, 4, 1, 1, generator=generator).expand(2, 4, 4, 4)
    torch.testing.assert_close(drop_cells(code, torch.zeros(2, 1, 4, 4)), code)


@pytest.mark.parametrize("factor", [2, 16])
def test_each_cell_of_an_upsampled_mask_is_a_square(factor, generator):
    mask = mask_of((2, 1, 4, 3), generator)
    expected = np.kron(mask.numpy(), np.ones((1, 1, factor, factor)))
    assert np.array_equal(upsample_mask(mask, factor).numpy(), expected)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_without_dropped_cells_the_repaired_image_equals_the_autoencoders(networks, bf16, training):
    """Bit for bit."""
    autoencoder, repair, images = networks
    repair.train(training)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        code = autoencoder.encode(images)
        mask = torch.ones(12, 1, 4, 4)
        repaired = repair(autoencoder, drop_cells(code, mask), mask)
        assert torch.equal(repaired, autoencoder.decode(code))
    assert not torch.equal(repaired[0], repaired[1])


@torch.no_grad()
def test_a_repair_layer_changes_dropped_cells_only(networks, generator):
    _, repair, _ = networks
    for layer, channels, side in zip(repair.layers, (128, 64, 32, 16, 8), (4, 8, 16, 32, 64), strict=True):
        x, mask = torch.randn(2, channels, side, side, generator=generator), mask_of((2, 1, side, side), generator)
        repaired, kept = layer(x, mask), (mask == 1).expand_as(x)
        assert torch.equal(repaired[kept], x[kept])
        assert (repaired[~kept] != x[~kept]).float().mean() > 0.99


@torch.no_grad()
def test_a_repair_layer_keeps_the_dtype(networks, generator):
    """Otherwise kept cells would be decoded in float32, and the autoencoder alone decodes in bfloat16."""
    _, repair, _ = networks
    x, mask = torch.randn(2, 64, 8, 8, generator=generator).bfloat16(), mask_of((2, 1, 8, 8), generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert repair.layers[1](x, mask).dtype == torch.bfloat16


@torch.no_grad()
def test_a_repair_layer_depends_on_the_mask(networks, generator):
    """The result in a dropped cell depends on whether its neighbors were dropped."""
    _, repair, _ = networks
    repair.eval()
    layer, x = repair.layers[1], torch.randn(1, 64, 8, 8, generator=generator)
    one, all_cells = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    one[..., 4, 4] = 0
    assert not torch.allclose(layer(x, one)[..., 4, 4], layer(x, all_cells)[..., 4, 4], atol=1e-4)
