"""Interface of the backbones that detection and segmentation can fine-tune, and what they need beyond features."""

from abc import abstractmethod

from torch import Tensor

from codial.errors import CodialError
from codial.models.backbone import Backbone


class TransferBackbone(Backbone):
    """A backbone whose layers, the fully connected ones included, can be computed for images of any size."""

    @abstractmethod
    def maps(self, images: Tensor, layer: str) -> Tensor:
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
    def grid(self, layer: str) -> tuple[float, float]:
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
        """Side of the first dense layer's input, in units of the last maps after the pooling that follows, if any."""

    @abstractmethod
    def dense(self, windows: Tensor) -> Tensor:
        """Return the last layer, [R, F], for inputs of the first dense layer, [R, C, window, window].

        Raises:
            CodialError: the backbone was exported without its dense layers.
        """


def require_transfer(backbone: Backbone, task: str) -> TransferBackbone:
    """Return a backbone that a task can fine-tune.

    Args:
        backbone: any backbone.
        task: such as "Detection".

    Raises:
        CodialError: the task needs an AlexNet, and this backbone is another, or was exported without dense layers.
    """
    if not isinstance(backbone, TransferBackbone):
        raise CodialError(
            f"{task} needs a run of AlexNet (model.backbone=alexnet), as in the paper's Table 3, whose dense layers it"
            f" fine-tunes; this backbone is {type(backbone).__name__}. Its frozen features can be evaluated by"
            " classification."
        )
    if backbone.layers[-1] in backbone.map_layers:
        raise CodialError(f"{task} fine-tunes dense layers, which this exported backbone lacks; use the run itself.")
    return backbone
