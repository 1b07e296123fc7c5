"""DeepCluster's backbone, which sees image gradients instead of colors (Caron et al., ECCV 2018)."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from codial.config import ModelConfig
from codial.models.alexnet import AlexNet

_HORIZONTAL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class SobelAlexNet(AlexNet):
    """AlexNet on the two Sobel gradients of the grayscale image; same inputs and layers as AlexNet.

    Grayscale is the mean of the normalized colors (whose offsets cancel in a gradient). Edge pixels are replicated
    beyond the border; the zero padding of the original makes a frame visible.

    Args:
        config: width, resolution, batch norm and color normalization.
        size: S, side of the input images in pixels.
    """

    kernel: Tensor

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__(config, size, mean=(0.0, 0.0), std=(1.0, 1.0))
        horizontal = torch.tensor(_HORIZONTAL)
        filters = torch.stack((horizontal, horizontal.T)).unsqueeze(1)  # [2, 1, 3, 3]
        to_gray = (1 / (3 * torch.tensor(config.std))).view(1, 3, 1, 1)
        self.register_buffer("kernel", filters * to_gray, persistent=False)

    def features(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations of layers, by name, as `Backbone.features`."""
        self.require_images(images)
        return super().features(self.edges(images), layers)

    def before_relu(self, images: Tensor) -> Tensor:
        """Return the last layer before its ReLU, [B, F], of images [B, 3, S, S]."""
        return self.fc7[:2](self.features(images, ("fc6",))["fc6"])

    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return the feature maps of a layer for images of any size, as `TransferBackbone.maps`."""
        return super().maps(self.edges(images), layer)

    def edges(self, images: Tensor) -> Tensor:
        """Return the horizontal and vertical gradients, [B, 2, S, S] float32, of images [B, 3, S, S]."""
        with torch.autocast(images.device.type, enabled=False):  # small differences need full precision
            return conv2d(pad(images.float(), (1, 1, 1, 1), mode="replicate"), self.kernel)
