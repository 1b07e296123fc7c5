"""SpotArtifacts' damage and repair: dropped cells of an autoencoder's code, and layers that inpaint them.

A mask is [B, 1, H, W] float: 1 where a cell of the code is kept, 0 where it is dropped.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from codial.config import ModelConfig
from codial.models.autoencoder import Autoencoder, conv_block, initialize_conv


def drop_cells(code: Tensor, mask: Tensor) -> Tensor:
    """Replace the dropped cells of codes by the mean of their 3 x 3 neighborhoods.

    Args:
        code: [B, C, H, W] float.
        mask: [B, 1, H, W] float.

    Returns:
        [B, C, H, W] float; cells outside the grid do not count in a mean.
    """
    return torch.where(mask > 0, code, avg_pool2d(code, 3, 1, 1, count_include_pad=False))


def upsample_mask(mask: Tensor, factor: int = 2) -> Tensor:
    """Return a mask [B, 1, factor * H, factor * W], by nearest-neighbor interpolation."""
    return interpolate(mask, scale_factor=factor, mode="nearest")


class RepairNetwork(nn.Module):
    """Layers for the code and for each stage of the decoder, which change activations of dropped cells only.

    Args:
        channels: channels of the code and after each stage: `Autoencoder.channels`.
        config: settings of batch norm.
    """

    def __init__(self, channels: list[int], config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_RepairLayer(c, config) for c in channels)

    def forward(self, autoencoder: Autoencoder, code: Tensor, mask: Tensor) -> Tensor:
        """Decode and repair codes; without dropped cells the result equals `autoencoder.decode(code)`.

        Args:
            autoencoder: the autoencoder with the decoder to use.
            code: codes with dropped cells, [B, C, H, W] float.
            mask: mask of the codes, [B, 1, H, W] float.

        Returns:
            Repaired images, [B, 3, S, S] float32 in [0, 1].
        """
        first, *others = self.layers
        x = first(code, mask)
        for stage, repair in zip(autoencoder.stages, others, strict=True):
            mask = upsample_mask(mask)
            x = repair(stage(x), mask)
        return autoencoder.to_images(x)


class _RepairLayer(nn.Module):
    """x + (1 - mask) f(x, mask), where f consists of two convolutions."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.first = conv_block(channels + 1, channels, config)
        self.second = initialize_conv(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mask = mask.to(x.dtype)  # otherwise kept cells change their dtype, and the decoder rounds them differently
        return x + (1 - mask) * self.second(self.first(torch.cat((x, mask), 1)))
