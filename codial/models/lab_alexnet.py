"""CMC's backbone: one half sees the lightness of an image, the other its colors (Tian et al., ECCV 2020)."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from codial.config import ModelConfig
from codial.models.alexnet import CONV_LAYERS, LAYERS, AlexNet
from codial.models.transfer_backbone import TransferBackbone
from codial.utils.devices import constant

# Linear sRGB to XYZ, each row divided by its white point (D65).
_WHITE = (0.95047, 1.0, 1.08883)
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_RGB_TO_XYZ = tuple(weight / white for row, white in zip(_XYZ, _WHITE, strict=True) for weight in row)

# Center and half-width of the ranges of L, a and b in sRGB, which are scaled to [-1, 1] as in the original.
_CENTER = (50.0, 6.025, -6.690)
_HALF_WIDTH = (50.0, 92.208, 101.168)


def to_lab(images: Tensor) -> Tensor:
    """Convert sRGB images to CIE L*a*b* (D65).

    Args:
        images: [B, 3, H, W] float in [0, 1].

    Returns:
        [B, 3, H, W] float32: L in [0, 100], a and b around 0.
    """
    images = images.float()
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    with torch.autocast(images.device.type, enabled=False):
        xyz = torch.einsum("ij,bjhw->bihw", constant(_RGB_TO_XYZ, images.device).view(3, 3), linear)
    roots = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = roots.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


class LabAlexNet(TransferBackbone):
    """Two AlexNets of half the width, on L and on ab; activations of both are concatenated, those of L first.

    Args:
        config: width of both halves together, resolution and batch norm; color normalization is not used.
        size: S, side of the input images in pixels.
    """

    scales_width = True

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.layers = LAYERS
        self.map_layers = CONV_LAYERS
        half = replace(config, width=config.width / 2)
        self.lightness = AlexNet(half, size, _CENTER[:1], _HALF_WIDTH[:1])
        self.color = AlexNet(half, size, _CENTER[1:], _HALF_WIDTH[1:])
        self.size = size
        self.feature_dim = self.lightness.feature_dim + self.color.feature_dim

    def features(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations of layers, by name, as `Backbone.features`."""
        self.require_images(images)
        names = self.require(layers)
        lab = to_lab(images)
        lightness = self.lightness.features(lab[:, :1], names)
        color = self.color.features(lab[:, 1:], names)
        return {name: torch.cat((lightness[name], color[name]), 1) for name in lightness}

    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return the feature maps of a layer for images of any size, as `TransferBackbone.maps`."""
        self.require([layer])
        lab = to_lab(images)
        return torch.cat((self.lightness.maps(lab[:, :1], layer), self.color.maps(lab[:, 1:], layer)), 1)

    def grid(self, layer: str = "conv5") -> tuple[int, float]:
        """Return stride and offset of the maps of a layer, as `TransferBackbone.grid`."""
        return self.lightness.grid(layer)

    @property
    def window(self) -> int:
        """Side of the input of fc6, as `TransferBackbone.window`."""
        return self.lightness.window

    def dense(self, windows: Tensor) -> Tensor:
        """Return the activations of fc7 for inputs of fc6, as `TransferBackbone.dense`."""
        self.require(["fc7"])
        lightness, color = windows.chunk(2, 1)
        return torch.cat((self.lightness.dense(lightness), self.color.dense(color)), 1)
