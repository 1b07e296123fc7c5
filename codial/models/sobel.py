"""A trunk that sees edges and no colours, as DeepCluster's."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from codial.config import ModelConfig
from codial.models.alexnet import AlexNet, check_pictures
from codial.models.trunk import TAPS

_ACROSS = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class SobelAlexNet(AlexNet):
    """AlexNet on the two Sobel gradients of the grey picture; it takes the same pictures and has the same taps.

    Grey is the plain mean of the normalised colours (their means drop out of a gradient). The picture's edge pixels are
    repeated outside it; the original pads with zeros, which draws a frame.

    Args:
        config: width, resolution, batch norm, normalisation.
        size: S in pixels.
    """

    kernel: Tensor

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__(config, size, mean=(0.0, 0.0), std=(1.0, 1.0))
        across = torch.tensor(_ACROSS)
        filters = torch.stack((across, across.T)).unsqueeze(1)  # [2, 1, 3, 3]
        grey = (1 / (3 * torch.tensor(config.std))).view(1, 3, 1, 1)
        self.register_buffer("kernel", filters * grey, persistent=False)

    def taps(self, images: Tensor, names: Iterable[str] = TAPS) -> dict[str, Tensor]:
        """Return the named activations, as `AlexNet.taps`, of views [B, 3, S, S] in [0, 1]."""
        check_pictures(images, 3, self.size)
        return super().taps(self.edges(images), names)

    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return a layer's maps of pictures [B, 3, H, W] of any size, as `Trunk.maps`."""
        return super().maps(self.edges(images), layer)

    def edges(self, images: Tensor) -> Tensor:
        """Return the gradients to the right and downwards, [B, 2, S, S] float32, of pictures [B, 3, S, S]."""
        with torch.autocast(images.device.type, enabled=False):  # small differences need all their digits
            return conv2d(pad(images.float(), (1, 1, 1, 1), mode="replicate"), self.kernel)
