"""Damage to an autoencoder's code, and the layers that mend it inside the decoder, as SpotArtifacts'.

A mask is [B, 1, H, W], 1 where a cell is kept and 0 where it is dropped.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from codial.config import ModelConfig
from codial.models.autoencoder import Autoencoder, convolved, initialised


def damage(code: Tensor, mask: Tensor) -> Tensor:
    """Return a code [B, C, H, W] whose dropped cells hold the mean of the 3 x 3 cells around them, within the grid."""
    return torch.where(mask > 0, code, avg_pool2d(code, 3, 1, 1, count_include_pad=False))


def enlarge(mask: Tensor, factor: int = 2) -> Tensor:
    """Return a mask [B, 1, factor * H, factor * W]: each cell becomes a square."""
    return interpolate(mask, scale_factor=factor, mode="nearest")


class Repair(nn.Module):
    """One layer on the code and one after each stage of the decoder, that change what the mask says was dropped.

    Args:
        channels: of the code and after each stage, `Autoencoder.channels`.
        config: batch norm's settings.
    """

    def __init__(self, channels: list[int], config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Mend(c, config) for c in channels)

    def forward(self, autoencoder: Autoencoder, code: Tensor, mask: Tensor) -> Tensor:
        """Return repaired pictures [B, 3, S, S] in [0, 1]; with nothing dropped, exactly those that it decodes.

        Args:
            autoencoder: whose decoder paints.
            code: [B, C, H, W], damaged.
            mask: of the damage, [B, 1, H, W].
        """
        first, *others = self.layers
        x = first(code, mask)
        for stage, mend in zip(autoencoder.stages, others, strict=True):
            mask = enlarge(mask)
            x = mend(stage(x), mask)
        return autoencoder.paint(x)


class _Mend(nn.Module):
    """x + (1 - mask) f(x, mask), where f is two convolutions."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.first = convolved(channels + 1, channels, config)
        self.second = initialised(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mask = mask.to(x.dtype)  # or what is kept would change its type, and be decoded to other digits
        return x + (1 - mask) * self.second(self.first(torch.cat((x, mask), 1)))
