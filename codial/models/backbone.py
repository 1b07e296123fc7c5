"""Interface of the backbones that methods train and probes evaluate: networks with AlexNet's layers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from codial.errors import CodialError

CONV_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
LAYERS = (*CONV_LAYERS, "fc6", "fc7")


class Backbone(nn.Module, ABC):
    """The backbone F_theta with layers conv1..conv5, fc6 and fc7.

    Attributes:
        size: S, side of the input images in pixels.
        feature_dim: F, number of units of fc7.
        layers: names of the layers that have weights; all, unless it was loaded without its fully connected layers.
    """

    size: int
    feature_dim: int
    layers: tuple[str, ...] = LAYERS

    def require(self, layers: Iterable[str]) -> set[str]:
        """Return layer names as a set.

        Raises:
            CodialError: there are none, or one is not the name of a layer with weights.
        """
        names = set(layers)
        if not names or not names <= set(self.layers):
            raise CodialError(f"Layers are {sorted(names)}; expected some of {', '.join(self.layers)}.")
        return names

    def forward(self, images: Tensor) -> Tensor:
        """Return the activations of fc7, [B, F], of images [B, 3, S, S] in [0, 1]."""
        return self.features(images, ("fc7",))["fc7"]

    @abstractmethod
    def features(self, images: Tensor, layers: Iterable[str] = LAYERS) -> dict[str, Tensor]:
        """Return the activations of layers, by name, in the order of the network.

        Layers after the last one requested are not computed.

        Args:
            images: [B, 3, S, S] float in [0, 1].
            layers: names of layers.

        Returns:
            [B, C, h, w] for convolutional layers, [B, F] for fully connected layers.

        Raises:
            CodialError: a name is not that of a layer, or the images have another shape.
        """

    @abstractmethod
    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return the feature maps of a layer for images of any size.

        Fully connected layers become convolutions with the same weights (Long, Shelhamer and Darrell, CVPR 2015,
        section 3.1), padded so that their maps have the size of their input.

        Args:
            images: [B, 3, H, W] float in [0, 1].
            layer: name of a layer.

        Returns:
            [B, C, h, w]; `grid` gives the positions of the h x w units in the image.

        Raises:
            CodialError: there is no such layer.
        """

    @abstractmethod
    def grid(self, layer: str = "conv5") -> tuple[int, float]:
        """Return stride and offset of the maps of a layer, for images whose sides are multiples of 32 pixels.

        Args:
            layer: name of a layer.

        Returns:
            Distance between neighboring units in pixels, and center of the first unit's receptive field as a pixel
            index, from 0.

        Raises:
            CodialError: there is no such layer.
        """

    @property
    @abstractmethod
    def window(self) -> int:
        """Side of the input of fc6, in units of conv5's maps after the pooling that follows them, if any."""

    @abstractmethod
    def dense(self, windows: Tensor) -> Tensor:
        """Return the activations of fc7, [R, F], for inputs of fc6, [R, C, window, window]."""
