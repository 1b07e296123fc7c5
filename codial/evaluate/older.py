"""The two older protocols that the paper's probes rest on: Zhang et al. 2016 and GlobStat's for STL-10."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from codial.errors import CodialError
from codial.evaluate.online import Online
from codial.models import CONV_TAPS


@dataclass(frozen=True, kw_only=True)
class ZhangProbe(Online):
    """Zhang, Isola and Efros 2016 (Colorful Image Colorization), made for ImageNet.

    Maps after the ReLU are averaged to about 9,000 numbers, those of small pictures never enlarged; its original
    resizes them by interpolation. The network is Caffe's, whose weights and solver are public with the paper.
    """

    name = "zhang"
    unit, original = "steps", 140_000

    sides: tuple[int, ...] = (10, 6, 5, 5, 6)  # of conv1 to conv5, at most: 9,600, 9,216, 9,600, 9,600, 9,216 numbers
    steps: int = 140_000  # 28 epochs of ImageNet; fewer for small machines, and the breaks move along
    crop: float = 227 / 256
    batch: int = 256  # four times 64, summed up
    rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    breaks: tuple[float, ...] = (2 / 7, 4 / 7, 6 / 7)  # every 40,000 steps
    nesterov: bool = False
    bias_rate: float = 2.0
    norm_eps: float = 1e-5  # Caffe's
    norm_momentum: float = 0.001  # Caffe's 0.999, which is corrected for its start

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_a_tap("sides", self.sides)

    @property
    def length(self) -> int:
        """How many batches it learns from."""
        return self.steps

    def steps_for(self, count: int) -> int:
        """Return how many batches that is for a set of `count` pictures."""
        return self.steps

    def pooled(self, layer: str, maps: Tensor) -> Tensor:
        """Return a layer's maps averaged adaptively, [B, C, s, s]."""
        return adaptive_avg_pool2d(maps, min(self.sides[CONV_TAPS.index(layer)], maps.shape[-1]))

    def pooling(self) -> str:
        """Say where it comes from and how it pools."""
        sides = ", ".join(str(self.sides[CONV_TAPS.index(layer)]) for layer in self.layers)
        return f"Zhang et al. 2016: averaged to sides of {sides} at most"


@dataclass(frozen=True, kw_only=True)
class GlobStatProbe(Online):
    """GlobStat's probe for STL-10 (Jenni, Jin and Favaro 2020), from its released code."""

    name = "globstat"
    unit, original = "epochs", 900

    kernels: tuple[int, ...] = (6, 4, 3, 3, 2)  # of average pooling, and its strides, for conv1 to conv5
    padding: tuple[str, ...] = ("same", "valid", "same", "same", "valid")  # in TensorFlow's sense
    epochs: int = 900  # of STL-10's 5,000 labelled pictures; fewer for small machines, and the breaks move along
    crop: float = 64 / 96
    batch: int = 64
    rates: tuple[float, ...] = (0.1, 0.01, 0.002, 0.0004, 0.00008)
    breaks: tuple[float, ...] = (0.08, 0.4, 0.7, 0.9)
    nesterov: bool = True
    bias_rate: float = 1.0
    norm_eps: float = 1e-3  # as everywhere in its code
    norm_momentum: float = 0.025

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_a_tap("kernels", self.kernels)
        _one_a_tap("padding", self.padding)
        if not set(self.padding) <= {"same", "valid"}:
            raise CodialError(f"padding is {', '.join(self.padding)}; expected same or valid.")

    @property
    def length(self) -> int:
        """How many epochs it learns."""
        return self.epochs

    def steps_for(self, count: int) -> int:
        """Return how many batches that is for a set of `count` pictures."""
        return self.epochs * max(1, count // self.batch)

    def pooled(self, layer: str, maps: Tensor) -> Tensor:
        """Return a layer's maps averaged over squares, [B, C, s, s]."""
        tap = CONV_TAPS.index(layer)
        return average(maps, self.kernels[tap], self.padding[tap])

    def pooling(self) -> str:
        """Say where it comes from and how it pools."""
        taps = [CONV_TAPS.index(layer) for layer in self.layers]
        squares = ", ".join(f"{self.kernels[tap]} ({self.padding[tap]})" for tap in taps)
        return f"GlobStat's for STL-10: averaged over squares of {squares}"


def average(maps: Tensor, kernel: int, padding: str) -> Tensor:
    """Return averages over squares side by side, as TensorFlow's avg_pool with the kernel as stride.

    Args:
        maps: [B, C, h, w] float.
        kernel: side of the squares; maps that are smaller are averaged whole.
        padding: "same" lets squares reach over the edge, the odd pixel after, and counts only what is within the map;
            "valid" leaves out what does not fill a square.

    Returns:
        [B, C, ceil(h / kernel), ceil(w / kernel)] for "same", rounded down for "valid".
    """
    if padding == "valid":
        height, width = maps.shape[2:]
        return avg_pool2d(maps, (min(kernel, height), min(kernel, width)))
    over = [(-side) % kernel for side in (maps.shape[3], maps.shape[2])]
    around = [n for each in over for n in (each // 2, each - each // 2)]
    inside = torch.ones_like(maps[:1, :1])
    return avg_pool2d(pad(maps, around), kernel) / avg_pool2d(pad(inside, around), kernel)


def _one_a_tap(name: str, values: tuple[object, ...]) -> None:
    if len(values) != len(CONV_TAPS):
        raise CodialError(f"{name} are {values}; expected {len(CONV_TAPS)}, one for each of {', '.join(CONV_TAPS)}.")
