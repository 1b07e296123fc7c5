import numpy as np
import pytest
import torch
from scipy.ndimage import sobel

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import TAPS, AlexNet, SobelAlexNet
from codial.views import plain_view

SMALL = ModelConfig(width=0.05)


@pytest.fixture
def pictures(few):
    return plain_view(few.images[:3], 32)


def test_edges_are_scipys_of_the_grey_picture(pictures):
    found = SobelAlexNet(SMALL, 32).edges(pictures).numpy()
    mean, std = (np.array(part).reshape(1, 3, 1, 1) for part in (SMALL.mean, SMALL.std))
    grey = ((pictures.numpy().astype(np.float64) - mean) / std).mean(1)
    for seen, picture in zip(found, grey, strict=True):
        np.testing.assert_allclose(seen[0], sobel(picture, axis=1, mode="nearest"), atol=2e-5)
        np.testing.assert_allclose(seen[1], sobel(picture, axis=0, mode="nearest"), atol=2e-5)


def test_it_sees_no_brightness_and_has_alexnets_taps(pictures):
    trunk = SobelAlexNet(SMALL, 32).eval()
    with torch.no_grad():
        for module in trunk.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(0))
        dark, bright = trunk.taps(0.5 * pictures), trunk.taps(0.5 * pictures + 0.3)
        plain = AlexNet(SMALL, 32).eval().taps(pictures)
    assert list(dark) == list(TAPS)
    for name in TAPS:
        assert dark[name].shape == plain[name].shape
        torch.testing.assert_close(dark[name], bright[name], rtol=1e-3, atol=1e-3 * float(dark[name].abs().max()))
    assert dark["fc7"].std(0).max() > 0
    assert trunk.conv1.conv.weight.shape[1] == 2


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (2, 3, 16, 32), (3, 32, 32)])
def test_other_pictures_are_refused(shape):
    with pytest.raises(CodialError, match=r"this trunk takes \[B, 3, 32, 32\]"):
        SobelAlexNet(SMALL, 32)(torch.zeros(shape))
