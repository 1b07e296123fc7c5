import pytest
import torch
from torch.nn.functional import mse_loss

from codial.models import Autoencoder
from codial.views import plain_view


@pytest.fixture
def autoencoder(tiny, seed):
    torch.manual_seed(seed)
    return Autoencoder(0.25, tiny.model)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_codes_are_a_sixteenth_of_the_side_and_pictures_come_back(autoencoder, size, generator):
    pictures = torch.rand(2, 3, size, size, generator=generator)
    code = autoencoder.encode(pictures)
    assert code.shape == (2, 128, size // 16, size // 16)
    made = autoencoder.decode(code)
    assert made.shape == pictures.shape
    assert made.dtype == torch.float32
    assert 0 <= made.min() < made.max() <= 1


def test_channels_are_the_originals_times_the_width(tiny):
    assert Autoencoder(1.0, tiny.model).channels == [512, 256, 128, 64, 32]
    assert Autoencoder(0.25, tiny.model).channels == [128, 64, 32, 16, 8]


def test_a_cell_of_the_code_sees_its_own_square_and_one_pixel_around(autoencoder, generator):
    """So the mask of the code, enlarged, is where the picture was repaired."""
    autoencoder.eval()
    pictures = torch.rand(1, 3, 64, 64, generator=generator)
    before = autoencoder.encode(pictures)
    pictures[:, :, 17:31, 33:47] = 0  # inside the square of row 1, column 2
    changed = (autoencoder.encode(pictures) != before).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 2]]
    pictures[:, :, 16] = 0  # the upper edge of the squares of row 1
    assert (autoencoder.encode(pictures) != before).any(1)[0].any(1).tolist() == [True, True, False, False]


def test_batch_norm_has_the_configs_settings(autoencoder, tiny):
    norms = [m for m in autoencoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 9
    assert {(norm.eps, norm.momentum) for norm in norms} == {(tiny.model.bn_eps, tiny.model.bn_momentum)}


def test_it_learns_few_pictures(autoencoder, photos):
    """From worse than one grey for all to a fifth of the pictures' variance, also with the statistics kept."""
    pictures = plain_view(photos["train"].batch(range(0, 320, 20)), 32)
    variance = pictures.var((0, 2, 3)).mean().item()
    optimiser, errors = torch.optim.Adam(autoencoder.parameters(), lr=5e-3), []
    for _ in range(60):
        error = mse_loss(autoencoder.decode(autoencoder.encode(pictures)), pictures)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[0] > variance
    assert errors[-1] < 0.2 * variance
    autoencoder.eval()
    with torch.no_grad():
        assert mse_loss(autoencoder.decode(autoencoder.encode(pictures)), pictures) < 0.2 * variance
