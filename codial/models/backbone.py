"""Interface of the backbones that methods train and probes evaluate: networks with named layers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn

from codial.errors import CodialError


class Backbone(nn.Module, ABC):
    """A network F_theta whose layers have names.

    A subclass is created as `Class(config.model, config.views.size)`, sets the attributes below in `__init__`, and
    implements `features`. It normalizes colors itself, by `config.model.mean` and `std`.

    Attributes:
        size: S, side of the input images in pixels.
        layers: names of all layers with activations, in the order of computation; the last is the feature vector. A
            backbone that was exported without some of its weights has fewer.
        map_layers: those of the layers whose activations are maps, which probes evaluate by default.
        feature_dim: F, length of the feature vector.
        scales_width: whether the class follows `config.model.width`.
    """

    size: int
    layers: tuple[str, ...]
    map_layers: tuple[str, ...]
    feature_dim: int
    scales_width: bool = False

    def require(self, layers: Iterable[str] | None) -> set[str]:
        """Return layer names as a set; None stands for all layers.

        Raises:
            CodialError: there are none, or one is not the name of a layer.
        """
        names = set(self.layers if layers is None else layers)
        if not names or not names <= set(self.layers):
            raise CodialError(
                f"Layers are {sorted(names)}; expected some of {', '.join(self.layers)}, the layers of this"
                f" {type(self).__name__}."
            )
        return names

    def require_images(self, images: Tensor) -> None:
        """Check that images are [B, 3, S, S].

        Raises:
            CodialError: they have another shape.
        """
        check_images(images, 3, self.size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the activations of the last layer, [B, F], of images [B, 3, S, S] in [0, 1].

        Raises:
            CodialError: the backbone was exported without its last layers.
        """
        last = self.layers[-1]
        if last in self.map_layers:
            raise CodialError(
                f"This {type(self).__name__} has no weights beyond {last}, whose activations are maps; call"
                f" backbone.features(images, [{last!r}])."
            )
        return self.features(images, (last,))[last]

    @abstractmethod
    def features(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations of layers, by name, in the order of the network.

        Layers after the last one requested are not computed.

        Args:
            images: [B, 3, S, S] float in [0, 1].
            layers: names of layers; all by default.

        Returns:
            [B, C, h, w] for layers with maps, [B, F] for others.

        Raises:
            CodialError: a name is not that of a layer, or the images have another shape.
        """

    def grid(self, layer: str) -> tuple[float, float] | None:
        """Return where in the image the units of a layer's maps lie, or None if the backbone does not tell.

        Returns:
            Distance between neighboring units in pixels, and center of the first unit's receptive field as a pixel
            index, from 0.
        """
        return None


def check_images(images: Tensor, channels: int, size: int) -> None:
    """Check the shape of a backbone's input.

    Raises:
        CodialError: the images have another shape.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != (channels, size, size):
        raise CodialError(f"Images are {list(images.shape)}; this backbone takes [B, {channels}, {size}, {size}].")


def configure_batchnorm(backbone: nn.Module, eps: float, momentum: float) -> None:
    """Set epsilon and momentum of every batch norm of a backbone."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = eps
            module.momentum = momentum
