"""What systems train and probes read: a network with the taps of AlexNet."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

CONV_TAPS = ("conv1", "conv2", "conv3", "conv4", "conv5")
TAPS = (*CONV_TAPS, "fc6", "fc7")


class Trunk(nn.Module, ABC):
    """The trunk F_theta with taps conv1..conv5, fc6 and fc7.

    Attributes:
        size: S, the side of its pictures in pixels.
        features: F, the units of fc7.
    """

    size: int
    features: int

    def forward(self, images: Tensor) -> Tensor:
        """Return fc7, [B, F], of views [B, 3, S, S] in [0, 1]."""
        return self.taps(images, ("fc7",))["fc7"]

    @abstractmethod
    def taps(self, images: Tensor, names: Iterable[str] = TAPS) -> dict[str, Tensor]:
        """Return the named activations in the network's order, computing no layer past the last one asked for.

        Raises:
            CodialError: a name is not a tap, or the pictures have another shape than the trunk was made for.
        """
