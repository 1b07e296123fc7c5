"""The probe protocols that the paper refers to: Zhang et al. 2016, and GlobStat's for STL-10."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from codial.errors import CodialError
from codial.evaluate.features import pooled_side
from codial.evaluate.probes.online import OnlineProbe
from codial.models import Backbone
from codial.models.alexnet import CONV_LAYERS  # the published protocols have numbers for these

_DIMS = 9000  # of the classifier's input


@dataclass(frozen=True, kw_only=True)
class ZhangProbe(OnlineProbe):
    """Protocol of Zhang, Isola and Efros 2016 (Colorful Image Colorization) for ImageNet.

    Maps after the ReLU are average-pooled to about 9,000 dimensions, and those of small images are not enlarged; the
    original resizes them by interpolation. The sides are published for AlexNet; other backbones' maps are pooled to
    that many dimensions. Settings are those of the Caffe solver published with the paper.
    """

    name = "zhang"
    unit, original = "steps", 140_000

    sides: tuple[int, ...] = (10, 6, 5, 5, 6)  # maximum for conv1 to conv5: 9,600, 9,216, 9,600, 9,600, 9,216 inputs
    steps: int = 140_000  # 28 epochs of ImageNet; breaks are relative to it
    crop: float = 227 / 256
    batch: int = 256  # accumulated from four times 64
    rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    breaks: tuple[float, ...] = (2 / 7, 4 / 7, 6 / 7)  # every 40,000 steps
    nesterov: bool = False
    bias_rate: float = 2.0
    norm_eps: float = 1e-5  # Caffe's
    norm_momentum: float = 0.001  # Caffe's 0.999, with bias correction

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_per_layer("sides", self.sides)

    @property
    def length(self) -> int:
        """Number of training steps."""
        return self.steps

    def steps_for(self, count: int) -> int:
        """Return the number of batches for a dataset of `count` images."""
        return self.steps

    def pooled(self, layer: str, maps: Tensor) -> Tensor:
        """Average-pool a layer's maps adaptively to [B, C, s, s]."""
        channels, side = maps.shape[1], maps.shape[-1]
        most = self.sides[CONV_LAYERS.index(layer)] if layer in CONV_LAYERS else pooled_side(channels, side, _DIMS)
        return adaptive_avg_pool2d(maps, min(most, side))

    def pooling(self) -> str:
        """Return a description of the protocol's source and its pooling."""
        layers = self.layers or CONV_LAYERS
        if not set(layers) <= set(CONV_LAYERS):
            return f"Zhang et al. 2016: average-pooled to about {_DIMS:,} dimensions"
        sides = ", ".join(str(self.sides[CONV_LAYERS.index(layer)]) for layer in layers)
        return f"Zhang et al. 2016: average-pooled to sides of {sides} at most"


@dataclass(frozen=True, kw_only=True)
class GlobStatProbe(OnlineProbe):
    """GlobStat's protocol for STL-10 (Jenni, Jin and Favaro 2020), from its published code, for AlexNet only."""

    name = "globstat"
    unit, original = "epochs", 900

    kernels: tuple[int, ...] = (6, 4, 3, 3, 2)  # kernel sizes and strides of average pooling, for conv1 to conv5
    padding: tuple[str, ...] = ("same", "valid", "same", "same", "valid")  # as in TensorFlow
    epochs: int = 900  # of STL-10's 5,000 labeled images; breaks are relative to it
    crop: float = 64 / 96
    batch: int = 64
    rates: tuple[float, ...] = (0.1, 0.01, 0.002, 0.0004, 0.00008)
    breaks: tuple[float, ...] = (0.08, 0.4, 0.7, 0.9)
    nesterov: bool = True
    bias_rate: float = 1.0
    norm_eps: float = 1e-3
    norm_momentum: float = 0.025

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_one_per_layer("kernels", self.kernels)
        _check_one_per_layer("padding", self.padding)
        if not set(self.padding) <= {"same", "valid"}:
            raise CodialError(f"padding is {', '.join(self.padding)}; expected same or valid.")

    def check(self, backbone: Backbone) -> None:
        """Check that the layers are AlexNet's, whose kernels are published.

        Raises:
            CodialError: they are not.
        """
        super().check(backbone)
        if not set(self.layers) <= set(CONV_LAYERS):
            raise CodialError(
                f"GlobStat's protocol has pooling kernels for {', '.join(CONV_LAYERS)} of AlexNet, but none for"
                f" {', '.join(self.layers)} of {type(backbone).__name__}; use the protocol codial or zhang."
            )

    @property
    def length(self) -> int:
        """Number of training epochs."""
        return self.epochs

    def steps_for(self, count: int) -> int:
        """Return the number of batches for a dataset of `count` images."""
        return self.epochs * max(1, count // self.batch)

    def pooled(self, layer: str, maps: Tensor) -> Tensor:
        """Average-pool a layer's maps to [B, C, s, s]."""
        index = CONV_LAYERS.index(layer)
        return average_pool(maps, self.kernels[index], self.padding[index])

    def pooling(self) -> str:
        """Return a description of the protocol's source and its pooling."""
        indices = [CONV_LAYERS.index(layer) for layer in self.layers or CONV_LAYERS]
        kernels = ", ".join(f"{self.kernels[index]} ({self.padding[index]})" for index in indices)
        return f"GlobStat's for STL-10: average-pooled with kernels of {kernels}"


def average_pool(maps: Tensor, kernel: int, padding: str) -> Tensor:
    """Average-pool as TensorFlow's avg_pool does with the kernel size as stride.

    Args:
        maps: [B, C, h, w] float.
        kernel: side of the kernel; smaller maps are averaged completely.
        padding: "same" pads maps, the odd pixel at the end, and averages over unpadded positions only; "valid" drops
            incomplete windows.

    Returns:
        [B, C, ceil(h / kernel), ceil(w / kernel)] for "same", rounded down for "valid".
    """
    if padding == "valid":
        height, width = maps.shape[2:]
        return avg_pool2d(maps, (min(kernel, height), min(kernel, width)))
    missing = [-side % kernel for side in (maps.shape[3], maps.shape[2])]
    amounts = [n for each in missing for n in (each // 2, each - each // 2)]
    mask = torch.ones_like(maps[:1, :1])
    return avg_pool2d(pad(maps, amounts), kernel) / avg_pool2d(pad(mask, amounts), kernel)


def _check_one_per_layer(name: str, values: tuple[object, ...]) -> None:
    if len(values) != len(CONV_LAYERS):
        raise CodialError(
            f"{name} are {values}; expected {len(CONV_LAYERS)}, one for each of {', '.join(CONV_LAYERS)}."
        )
