import pytest
import torch
from torch.nn.functional import mse_loss

from codial.models import Autoencoder
from codial.transforms import plain_view


@pytest.fixture
def autoencoder(tiny, seed):
    torch.manual_seed(seed)
    return Autoencoder(0.25, tiny.model)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_codes_have_a_sixteenth_of_the_side_and_images_their_shape(autoencoder, size, generator):
    images = torch.rand(2, 3, size, size, generator=generator)
    code = autoencoder.encode(images)
    assert code.shape == (2, 128, size // 16, size // 16)
    decoded = autoencoder.decode(code)
    assert decoded.shape == images.shape
    assert decoded.dtype == torch.float32
    assert 0 <= decoded.min() < decoded.max() <= 1


def test_channels_are_those_of_the_original_times_the_width(tiny):
    assert Autoencoder(1.0, tiny.model).channels == [512, 256, 128, 64, 32]
    assert Autoencoder(0.25, tiny.model).channels == [128, 64, 32, 16, 8]


def test_a_cell_of_the_code_depends_on_its_square_and_one_pixel_around(autoencoder, generator):
    """So the upsampled mask of the code shows where the image was repaired."""
    autoencoder.eval()
    images = torch.rand(1, 3, 64, 64, generator=generator)
    before = autoencoder.encode(images)
    images[:, :, 17:31, 33:47] = 0  # inside the square of row 1, column 2
    changed = (autoencoder.encode(images) != before).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 2]]
    images[:, :, 16] = 0  # the upper edge of the squares of row 1
    assert (autoencoder.encode(images) != before).any(1)[0].any(1).tolist() == [True, True, False, False]


def test_batch_norm_has_the_settings_of_the_config(autoencoder, tiny):
    norms = [m for m in autoencoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 9
    assert {(norm.eps, norm.momentum) for norm in norms} == {(tiny.model.bn_eps, tiny.model.bn_momentum)}


def test_it_learns_a_few_images(autoencoder, photos):
    """The error falls from above the variance of the images to a fifth of it, with running statistics, too."""
    images = plain_view(photos["train"].batch(range(0, 320, 20)), 32)
    variance = images.var((0, 2, 3)).mean().item()
    optimizer, errors = torch.optim.Adam(autoencoder.parameters(), lr=5e-3), []
    for _ in range(60):
        error = mse_loss(autoencoder.decode(autoencoder.encode(images)), images)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[0] > variance
    assert errors[-1] < 0.2 * variance
    autoencoder.eval()
    with torch.no_grad():
        assert mse_loss(autoencoder.decode(autoencoder.encode(images)), images) < 0.2 * variance
