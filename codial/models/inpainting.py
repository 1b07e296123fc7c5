"""The opponents of limited-context inpainting: one paints patches, the other tells painted from real (GlobStat)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.parametrizations import spectral_norm

from codial.config import ModelConfig
from codial.models.alexnet import width_of

_PAINTER = (48, 96, 192, 384)  # channels; the side is halved between two
_JUDGE = (64, 128, 256)
_SLOPE = 0.1  # of the leaky ReLU, below 0


class Inpainter(nn.Module):
    """Convolutional encoder-decoder: three halvings, three doublings; batch norm but at both ends; leaky ReLU; tanh.

    Args:
        width: multiplies every layer's channels.
        config: batch norm's settings, those of the trunk.
    """

    def __init__(self, width: float, config: ModelConfig) -> None:
        super().__init__()
        channels = [width_of(c, width) for c in _PAINTER]
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), nn.LeakyReLU(_SLOPE, inplace=True)]
        for kind, way in ((nn.Conv2d, channels), (nn.ConvTranspose2d, channels[::-1])):
            for inputs, outputs in pairwise(way):
                norm = nn.BatchNorm2d(outputs, config.bn_eps, config.bn_momentum)
                layers += [kind(inputs, outputs, 4, 2, 1, bias=False), norm, nn.LeakyReLU(_SLOPE, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[0], 3, 3, padding=1))
        _initialise(self)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the painted patches, [N, 3, P, P] float32 in [-1, 1], of patches [N, 3, P, P]; 8 divides P."""
        return self.layers(patches).float().tanh()


class _Conv(nn.Conv2d):
    """A convolution that asks for its weight, and so for the norm of its weight, in full precision."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        return conv2d(x, weight, self.bias, self.stride, padding=1)


class PatchDiscriminator(nn.Module):
    """Convolutions whose weights have spectral norm 1 (Miyato et al., ICLR 2018), a sum over places, a linear score.

    Args:
        width: multiplies every layer's channels.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        first, second, third = (width_of(c, width) for c in _JUDGE)
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in (
            (6, first, 3, 1), (first, first, 4, 2), (first, second, 3, 1), (second, second, 4, 2), (second, third, 3, 1)
        ):  # fmt: skip
            layers += [_Conv(inputs, outputs, kernel, stride), nn.LeakyReLU(_SLOPE, inplace=True)]
        self.convs, self.last = nn.Sequential(*layers), nn.Linear(third, 1)
        _initialise(self)
        for layer in (*layers[::2], self.last):
            spectral_norm(layer)

    def forward(self, pairs: Tensor) -> Tensor:
        """Return scores [N] float32, high for real, of pairs of patches [N, 6, P, P], real both or painted both.

        In training mode each call takes one step of the power iterations that estimate the norms.
        """
        summed = self.convs(pairs).float().sum((2, 3))
        with torch.autocast(pairs.device.type, enabled=False):
            return self.last(summed).squeeze(1)


def _initialise(module: nn.Module) -> None:
    """Uniform weights of Glorot and Bengio (2010), biases 0, as GlobStat's code."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
