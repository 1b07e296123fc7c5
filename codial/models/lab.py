"""A trunk of two halves, of which one sees how light a picture is and the other its colours, as CMC's."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from codial.config import ModelConfig
from codial.devices import constant
from codial.models.alexnet import AlexNet, check_pictures
from codial.models.trunk import TAPS, Trunk

# Linear sRGB to XYZ, each row over its white point (D65).
_WHITE = (0.95047, 1.0, 1.08883)
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_RATIOS = tuple(number / white for row, white in zip(_XYZ, _WHITE, strict=True) for number in row)

# Middle and half of the range that L, a and b have in sRGB: brought to [-1, 1], as the original.
_MIDDLE = (50.0, 6.025, -6.690)
_REACH = (50.0, 92.208, 101.168)


def to_lab(images: Tensor) -> Tensor:
    """Return CIE L*a*b* of sRGB pictures [B, 3, H, W] in [0, 1], float32: L in [0, 100], a and b around 0."""
    images = images.float()
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    with torch.autocast(images.device.type, enabled=False):
        ratios = torch.einsum("ij,bjhw->bihw", constant(_RATIOS, images.device).view(3, 3), linear)
    roots = torch.where(ratios > 0.008856, ratios.clamp_min(0.008856) ** (1 / 3), 7.787 * ratios + 16 / 116)
    x, y, z = roots.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


class LabHalves(Trunk):
    """Two AlexNets of half the width, on L and on ab; a tap is the first's channels, then the second's.

    Args:
        config: width of both together, resolution and batch norm; its colour normalisation is not used.
        size: S in pixels.
    """

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        half = replace(config, width=config.width / 2)
        self.lightness = AlexNet(half, size, _MIDDLE[:1], _REACH[:1])
        self.colour = AlexNet(half, size, _MIDDLE[1:], _REACH[1:])
        self.size, self.features = size, self.lightness.features + self.colour.features

    def taps(self, images: Tensor, names: Iterable[str] = TAPS) -> dict[str, Tensor]:
        """Return the named activations, as `AlexNet.taps`, of views [B, 3, S, S] in [0, 1]."""
        check_pictures(images, 3, self.size)
        lab, names = to_lab(images), self.require(names)
        first, second = self.lightness.taps(lab[:, :1], names), self.colour.taps(lab[:, 1:], names)
        return {name: torch.cat((first[name], second[name]), 1) for name in first}

    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return a layer's maps of pictures [B, 3, H, W] of any size, as `Trunk.maps`."""
        self.require([layer])
        lab = to_lab(images)
        return torch.cat((self.lightness.maps(lab[:, :1], layer), self.colour.maps(lab[:, 1:], layer)), 1)

    def grid(self, layer: str = "conv5") -> tuple[int, float]:
        """Return where the places of a layer's maps lie, as `Trunk.grid`."""
        return self.lightness.grid(layer)

    @property
    def window(self) -> int:
        """Side of what fc6 reads, as `Trunk.window`."""
        return self.lightness.window

    def dense(self, windows: Tensor) -> Tensor:
        """Return fc7 of windows of conv5's maps, as `Trunk.dense`."""
        self.require(["fc7"])
        first, second = windows.chunk(2, 1)
        return torch.cat((self.lightness.dense(first), self.colour.dense(second)), 1)
