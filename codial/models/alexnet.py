"""AlexNet as in CODIAL: no local response normalization, and batch norm after every layer (section 4)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, pad, pixel_unshuffle

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models.backbone import check_images, configure_batchnorm
from codial.models.transfer_backbone import TransferBackbone

CONV_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
LAYERS = (*CONV_LAYERS, "fc6", "fc7")

#           channels, kernel, stride, groups
_CONVS = (
    (96, 11, 4, 1),
    (256, 5, 1, 2),
    (384, 3, 1, 1),
    (384, 3, 1, 2),
    (256, 3, 1, 2),
)
_FULL_PADDING = (2, 2, 1, 1, 1)  # of the original for 224 pixels
_FC = 4096

Channels = tuple[float, ...]  # one number per input channel


class _Conv(nn.Module):
    """Convolution, batch norm and ReLU; padding None is TensorFlow's "same" (an odd pixel goes after)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, padding: int | None) -> None:
        super().__init__()
        self.same = padding is None
        self.padding = padding or 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, self.padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = _pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        return torch.relu_(self.norm(self.conv(x)))


class _FirstConv(_Conv):
    """conv1 on unnormalized pixels; it subtracts the mean and divides by the standard deviation itself.

    Blocks of stride x stride pixels are folded into channels, and a convolution with stride 1 runs over the blocks. The
    sums are the same and take half the time: many channels and few kernel positions instead of 3 channels and 121.

    Args:
        mean: mean of each input channel.
        std: standard deviation of each input channel.
        outputs: number of output channels.
        kernel: side of the kernel in pixels.
        stride: stride in pixels.
        padding: in pixels; None is "same".
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Channels, std: Channels, outputs: int, kernel: int, stride: int, padding: int | None
    ) -> None:
        super().__init__(len(mean), outputs, kernel, stride, 1, padding)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        stride = self.conv.stride[0]
        sides = x.shape[-2:]
        outputs, before = self._geometry(sides)
        # One more pixel of padding and one more row and column of the kernel: then complete blocks always suffice.
        weight = pad(self.conv.weight / self.std, 2 * (1, -(self.conv.kernel_size[0] + 1) % stride))
        channels = x.shape[1]
        blocks = torch.eye(channels * stride**2, device=x.device).view(-1, channels, stride, stride)
        blocks = blocks.contiguous(memory_format=torch.channels_last)
        padding = tuple((n + 1) // stride for n in before)
        if any((n + 1) % stride for n in before) or any(n % stride for n in sides):
            height, width = (n + weight.shape[-1] // stride - 1 for n in outputs)
            x = conv2d(x - self.mean, blocks, stride=stride, padding=tuple(n + 1 for n in before))
            x = x[..., :height, :width]
            padding = (0, 0)
        else:  # the padding consists of complete blocks and can be added later, which saves a pass over the pixels
            x = conv2d(x, blocks, -self.mean.flatten().repeat_interleave(stride**2), stride=stride)
        return torch.relu_(self.norm(conv2d(x, pixel_unshuffle(weight, stride), padding=padding)))

    def _geometry(self, sides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return for height and width the side of the output and the padding before the input."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if self.same:
            return tuple(-(-n // stride) for n in sides), tuple(_same_padding(n, kernel, stride)[0] for n in sides)
        return tuple((n + 2 * self.padding - kernel) // stride + 1 for n in sides), (self.padding,) * 2


def _same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after `length` pixels with which a convolution yields ceil(length / stride)."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad [B, C, H, W] with zeros as `_same_padding`."""
    before_after = [n for side in (x.shape[-1], x.shape[-2]) for n in _same_padding(side, kernel, stride)]
    return pad(x, before_after) if any(before_after) else x


def scale_width(channels: int, factor: float) -> int:
    """Return a number of channels times a factor, rounded to a multiple of 8 (for groups and vector units)."""
    return max(8, 8 * round(channels * factor / 8))


class AlexNet(TransferBackbone):
    """AlexNet with layers conv1..conv5, fc6 and fc7, each followed by batch norm and ReLU.

    The input is [B, 3, S, S] float in [0, 1]; color normalization is part of the backbone. Activations of conv1 and
    conv2 are those before the max pooling that follows.

    Attributes:
        map_channels: number of channels of each layer with maps.

    Args:
        config: width, resolution, batch norm and color normalization.
        size: S in pixels, which determines the input of fc6.
        mean: mean of each input channel; that of the config by default.
        std: standard deviation of each input channel; that of the config by default.
    """

    scales_width = True

    def __init__(
        self, config: ModelConfig, size: int, mean: Channels | None = None, std: Channels | None = None
    ) -> None:
        super().__init__()
        self.layers = LAYERS
        self.map_layers = CONV_LAYERS
        mean = mean or config.mean
        std = std or config.std
        self.low = config.resolution == "low"
        paddings = (None,) * 5 if self.low else _FULL_PADDING
        channels = [scale_width(c, config.width) for c, *_ in _CONVS]
        self.conv1 = _FirstConv(mean, std, channels[0], *_CONVS[0][1:3], paddings[0])
        for i, (_, kernel, stride, groups) in enumerate(_CONVS[1:], 1):
            conv = _Conv(channels[i - 1], channels[i], kernel, stride, groups, paddings[i])
            self.add_module(CONV_LAYERS[i], conv)
        self.map_channels = dict(zip(CONV_LAYERS, channels, strict=True))
        self.feature_dim = scale_width(_FC, config.width)
        self.size = size
        self.channels = len(mean)
        self.fc6 = self._fully_connected(channels[-1] * self._last_side(size) ** 2, self.feature_dim)
        self.fc7 = self._fully_connected(self.feature_dim, self.feature_dim)
        self._initialize(config)

    def features(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations of layers, by name, as `Backbone.features`."""
        names = self.require(layers)
        check_images(images, self.channels, self.size)
        activations = {}
        x = images
        for name in LAYERS[: max(LAYERS.index(n) for n in names) + 1]:
            x = getattr(self, name)(self._before(name, x))
            if name in names:
                activations[name] = x
        return activations

    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return the feature maps of a layer for images of any size, as `TransferBackbone.maps`."""
        self.require([layer])
        x = images
        for name in LAYERS[: LAYERS.index(layer) + 1]:
            x = getattr(self, name)(self._before(name, x)) if name in CONV_LAYERS else self._convolve(name, x)
        return x

    def grid(self, layer: str = "conv5") -> tuple[int, float]:
        """Return stride and offset of the maps of a layer, as `TransferBackbone.grid`."""
        self.require([layer])
        number = LAYERS.index(layer)
        kernel, stride = _CONVS[0][1:3]
        padding = _same_padding(16, kernel, stride)[0] if self.low else _FULL_PADDING[0]
        first = (kernel - 1) / 2 - padding
        for _ in range(min(number, 2) + (number >= 5 and not self.low)):  # max pooling: kernel 3, stride 2
            first += stride
            stride *= 2
        even = number >= 5 and self._last_side(self.size) % 2 == 0
        return stride, first - stride / 2 * even

    @property
    def window(self) -> int:
        """Side of the input of fc6, as `TransferBackbone.window`."""
        return self._last_side(self.size)

    def dense(self, windows: Tensor) -> Tensor:
        """Return the activations of fc7 for inputs of fc6, as `TransferBackbone.dense`."""
        self.require(["fc7"])
        return self.fc7(self.fc6(windows.flatten(1)))

    def _convolve(self, name: str, x: Tensor) -> Tensor:
        """Apply a fully connected layer at every position of maps, as a convolution that keeps their size."""
        linear, norm, _ = getattr(self, name)
        x = x if self.low or name == "fc7" else self._pool(x)
        side = self._last_side(self.size) if name == "fc6" else 1
        x = pad(x, 2 * (side // 2, (side - 1) // 2))
        x = conv2d(x, linear.weight.view(len(linear.weight), -1, side, side))
        return torch.relu_(norm(x.flatten(2)).view(x.shape))

    def _before(self, name: str, x: Tensor) -> Tensor:
        """Pool or flatten the activations of the previous layer."""
        if name in ("conv2", "conv3"):
            return self._pool(x)
        if name == "fc6":
            return (x if self.low else self._pool(x)).flatten(1)
        return x

    def _pool(self, x: Tensor) -> Tensor:
        # Zero padding is neutral, because the input is the output of a ReLU.
        return max_pool2d(_pad_same(x, 3, 2) if self.low else x, 3, 2)

    def _last_side(self, size: int) -> int:
        """Return the side of the maps that fc6 reads."""
        if self.low:
            return -(-size // 16)  # strides 4, 2 and 2, each rounded up
        side = (size + 4 - 11) // 4 + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1
        if side < 1:
            raise CodialError(
                f"views.size is {size}; resolution 'full' needs at least 63 pixels. Set model.resolution to 'low'."
            )
        return side

    @staticmethod
    def _fully_connected(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())

    def _initialize(self, config: ModelConfig) -> None:
        """Initialize convolutions (std 0.01) and linear layers (std 0.005) by truncated normals, as GlobStat's code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.005, a=-0.01, b=0.01)
        configure_batchnorm(self, config.bn_eps, config.bn_momentum)
