"""ResNets of torchvision's blocks, with the stem of small images below 96 pixels (He et al., CVPR 2016)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from codial.config import ModelConfig
from codial.models.alexnet import scale_width
from codial.models.backbone import Backbone, configure_batchnorm

SMALL = 96  # pixels; smaller images get the stem of SimCLR's CIFAR variant
_MAP_LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")
_PLANES = (64, 128, 256, 512)


class ResNet(Backbone):
    """A ResNet with layers stem, layer1 to layer4 (the four stages) and pool (the mean over positions).

    The input is [B, 3, S, S] float in [0, 1]; color normalization is part of the backbone. Images of at least 96 pixels
    get torchvision's stem, a 7 x 7 convolution of stride 2 and max pooling; smaller ones get a 3 x 3 convolution of
    stride 1 and no pooling, as in SimCLR's experiments on CIFAR-10 (arXiv 2002.05709, appendix B.9). Activations of
    the stem are those before max pooling.

    `config.resolution` is AlexNet's and has no effect.

    Args:
        config: width, batch norm and color normalization.
        size: S in pixels.
        block: name of torchvision's residual block, BasicBlock or Bottleneck.
        counts: number of blocks of each stage.
    """

    scales_width = True
    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, size: int, block: str, counts: tuple[int, int, int, int]) -> None:
        super().__init__()
        from torchvision.models import resnet  # takes a while, and not every run needs it

        kind = getattr(resnet, block)
        self.size = size
        self.layers = (*_MAP_LAYERS, "pool")
        self.map_layers = _MAP_LAYERS
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        planes = [scale_width(channels, config.width) for channels in _PLANES]
        inputs = planes[0]
        self.stem = _stem(inputs, small=size < SMALL)
        self.max_pool = nn.Identity() if size < SMALL else nn.MaxPool2d(3, 2, padding=1)
        for stage, (channels, count) in enumerate(zip(planes, counts, strict=True)):
            self.add_module(f"layer{stage + 1}", _stage(kind, inputs, channels, count, stride=2 if stage else 1))
            inputs = channels * kind.expansion
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.feature_dim = inputs
        _initialize(self)
        configure_batchnorm(self, config.bn_eps, config.bn_momentum)

    def features(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations of layers, by name, as `Backbone.features`."""
        names = self.require(layers)
        self.require_images(images)
        activations = {}
        x = (images - self.mean) / self.std
        for name in self.layers[: max(self.layers.index(n) for n in names) + 1]:
            x = getattr(self, name)(self.max_pool(x) if name == "layer1" else x)
            if name in names:
                activations[name] = x
        return activations

    def grid(self, layer: str) -> tuple[float, float]:
        """Return stride and offset of the maps of a layer, as `Backbone.grid`; kernels are odd, so the offset is 0."""
        self.require([layer])
        after_stem = max(0, self.map_layers.index(layer) - 1)  # stages of stride 2 up to the layer
        stem = 1 if self.size < SMALL else 2 if layer == "stem" else 4
        return stem * 2.0**after_stem, 0.0


class ResNet18(ResNet):
    """ResNet-18: stages of 2, 2, 2 and 2 basic blocks; arguments as for `ResNet`."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__(config, size, "BasicBlock", (2, 2, 2, 2))


class ResNet50(ResNet):
    """ResNet-50: stages of 3, 4, 6 and 3 bottleneck blocks; arguments as for `ResNet`."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__(config, size, "Bottleneck", (3, 4, 6, 3))


def _stem(channels: int, small: bool) -> nn.Sequential:
    kernel, stride = (3, 1) if small else (7, 2)
    conv = nn.Conv2d(3, channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _stage(block: Any, inputs: int, planes: int, count: int, stride: int) -> nn.Sequential:
    """Return a stage of residual blocks, the first of which may change stride and channels."""
    outputs = planes * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(block(inputs, planes, stride, shortcut), *(block(outputs, planes) for _ in range(count - 1)))


def _initialize(resnet: nn.Module) -> None:
    """Initialize convolutions as torchvision: normal, by fan-out (He et al., ICCV 2015)."""
    for module in resnet.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
