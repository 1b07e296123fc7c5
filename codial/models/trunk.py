"""What systems train and probes read: a network with the taps of AlexNet."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from codial.errors import CodialError

CONV_TAPS = ("conv1", "conv2", "conv3", "conv4", "conv5")
TAPS = (*CONV_TAPS, "fc6", "fc7")


class Trunk(nn.Module, ABC):
    """The trunk F_theta with taps conv1..conv5, fc6 and fc7.

    Attributes:
        size: S, the side of its pictures in pixels.
        features: F, the units of fc7.
        layers: the taps it has weights for; all, unless it was loaded without its dense layers.
    """

    size: int
    features: int
    layers: tuple[str, ...] = TAPS

    def require(self, names: Iterable[str]) -> set[str]:
        """Return the names of taps as a set.

        Raises:
            CodialError: there are none, or one is not a tap that this trunk has weights for.
        """
        wanted = set(names)
        if not wanted or not wanted <= set(self.layers):
            raise CodialError(f"Layers are {sorted(wanted)}; expected some of {', '.join(self.layers)}.")
        return wanted

    def forward(self, images: Tensor) -> Tensor:
        """Return fc7, [B, F], of views [B, 3, S, S] in [0, 1]."""
        return self.taps(images, ("fc7",))["fc7"]

    @abstractmethod
    def taps(self, images: Tensor, names: Iterable[str] = TAPS) -> dict[str, Tensor]:
        """Return the named activations in the network's order, computing no layer past the last one asked for.

        Raises:
            CodialError: a name is not a tap, or the pictures have another shape than the trunk was made for.
        """

    @abstractmethod
    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return a layer's maps of pictures of any size.

        The dense layers become convolutions by the same weights (Long, Shelhamer and Darrell, CVPR 2015, section 3.1),
        padded so that they have as many places as what they read.

        Args:
            images: [B, 3, H, W] in [0, 1].
            layer: a tap's name.

        Returns:
            [B, C, h, w]; `grid` tells where the places lie.

        Raises:
            CodialError: the layer is not a tap.
        """

    @abstractmethod
    def grid(self, layer: str = "conv5") -> tuple[int, float]:
        """Return where the places of a layer's maps lie in a picture whose sides are multiples of 32 pixels.

        Args:
            layer: a tap's name.

        Returns:
            The pixels from one place to the next, and the pixel, from 0, at the centre of what the first one sees.
        """

    @property
    @abstractmethod
    def window(self) -> int:
        """Side, in places, of what fc6 reads: conv5's maps, after the pool that follows them if there is one."""

    @abstractmethod
    def dense(self, windows: Tensor) -> Tensor:
        """Return fc7, [R, F], of windows cut from conv5's maps and pooled, [R, C, window, window]."""
