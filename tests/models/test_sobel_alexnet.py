import numpy as np
import pytest
import torch
from scipy.ndimage import sobel

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import AlexNet, SobelAlexNet
from codial.models.alexnet import LAYERS
from codial.transforms import plain_view

SMALL = ModelConfig(width=0.05)


@pytest.fixture
def images(few):
    return plain_view(few.images[:3], 32)


def test_edges_equal_scipys_of_the_grayscale_image(images):
    edges = SobelAlexNet(SMALL, 32).edges(images).numpy()
    mean, std = (np.array(part).reshape(1, 3, 1, 1) for part in (SMALL.mean, SMALL.std))
    gray = ((images.numpy().astype(np.float64) - mean) / std).mean(1)
    for gradients, image in zip(edges, gray, strict=True):
        np.testing.assert_allclose(gradients[0], sobel(image, axis=1, mode="nearest"), atol=2e-5)
        np.testing.assert_allclose(gradients[1], sobel(image, axis=0, mode="nearest"), atol=2e-5)


def test_features_do_not_depend_on_an_offset_and_have_the_shapes_of_alexnet(images):
    backbone = SobelAlexNet(SMALL, 32).eval()
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(0))
        dark, bright = backbone.features(0.5 * images), backbone.features(0.5 * images + 0.3)
        plain = AlexNet(SMALL, 32).eval().features(images)
    assert list(dark) == list(LAYERS)
    for name in LAYERS:
        assert dark[name].shape == plain[name].shape
        torch.testing.assert_close(dark[name], bright[name], rtol=1e-3, atol=1e-3 * float(dark[name].abs().max()))
    assert dark["fc7"].std(0).max() > 0
    assert backbone.conv1.conv.weight.shape[1] == 2


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (2, 3, 16, 32), (3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(CodialError, match=r"this backbone takes \[B, 3, 32, 32\]"):
        SobelAlexNet(SMALL, 32)(torch.zeros(shape))
