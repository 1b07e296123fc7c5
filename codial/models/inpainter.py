"""Inpainting network and patch discriminator of GlobStat's limited-context inpainting (Jenni et al., CVPR 2020)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.parametrizations import spectral_norm

from codial.config import ModelConfig
from codial.models.alexnet import scale_width

_INPAINTER = (48, 96, 192, 384)  # channels; the side is halved from one to the next
_DISCRIMINATOR = (64, 128, 256)
_NEGATIVE_SLOPE = 0.1


class Inpainter(nn.Module):
    """Convolutional encoder-decoder with leaky ReLU and a final tanh; batch norm except at both ends.

    The encoder halves the side of the maps three times, the decoder doubles it three times.

    Args:
        width: factor for all numbers of channels; 1 is the original.
        config: settings of batch norm.
    """

    def __init__(self, width: float, config: ModelConfig) -> None:
        super().__init__()
        channels = [scale_width(c, width) for c in _INPAINTER]
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), _leaky_relu()]
        for conv, sequence in ((nn.Conv2d, channels), (nn.ConvTranspose2d, channels[::-1])):
            for inputs, outputs in pairwise(sequence):
                norm = nn.BatchNorm2d(outputs, config.bn_eps, config.bn_momentum)
                layers += [conv(inputs, outputs, 4, 2, 1, bias=False), norm, _leaky_relu()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[0], 3, 3, padding=1))
        _initialize(self)

    def forward(self, patches: Tensor) -> Tensor:
        """Return inpainted patches, [N, 3, P, P] float32 in [-1, 1], of patches [N, 3, P, P]; P is a multiple of 8."""
        return self.layers(patches).float().tanh()


class _Conv(nn.Conv2d):
    """A convolution that computes its weight, and so the spectral norm of its weight, in float32 under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        return conv2d(x, weight, self.bias, self.stride, padding=1)


class PatchDiscriminator(nn.Module):
    """Convolutions with spectral norm (Miyato et al., ICLR 2018), sum pooling and a linear score.

    Args:
        width: factor for all numbers of channels; 1 is the original.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        first, second, third = (scale_width(c, width) for c in _DISCRIMINATOR)
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in (
            (6, first, 3, 1), (first, first, 4, 2), (first, second, 3, 1), (second, second, 4, 2), (second, third, 3, 1)
        ):  # fmt: skip
            layers += [_Conv(inputs, outputs, kernel, stride), _leaky_relu()]
        self.convs = nn.Sequential(*layers)
        self.last = nn.Linear(third, 1)
        _initialize(self)
        for layer in (*layers[::2], self.last):
            spectral_norm(layer)

    def forward(self, pairs: Tensor) -> Tensor:
        """Score pairs of patches, both real or both inpainted.

        In training mode each call takes one step of the power iterations that estimate the spectral norms.

        Args:
            pairs: [N, 6, P, P] float, two patches of three channels each.

        Returns:
            [N] float32, high for real patches.
        """
        summed = self.convs(pairs).float().sum((2, 3))
        with torch.autocast(pairs.device.type, enabled=False):
            return self.last(summed).squeeze(1)


def _leaky_relu() -> nn.LeakyReLU:
    return nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True)


def _initialize(module: nn.Module) -> None:
    """Initialize weights uniformly by Glorot and Bengio (2010) and biases with 0, as GlobStat's code."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
