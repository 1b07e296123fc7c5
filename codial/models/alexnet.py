"""AlexNet as CODIAL uses it: no local response normalisation, batch norm on every layer but the last (section 4)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, pad, pixel_unshuffle

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models.trunk import CONV_TAPS, TAPS, Trunk

#           channels, kernel, stride, groups
_CONVS = (
    (96, 11, 4, 1),
    (256, 5, 1, 2),
    (384, 3, 1, 1),
    (384, 3, 1, 2),
    (256, 3, 1, 2),
)
_FULL_PADDING = (2, 2, 1, 1, 1)  # the classic 224-pixel form
_FC = 4096

Channels = tuple[float, ...]  # one number an input channel


class _Conv(nn.Module):
    """Convolution, batch norm and ReLU; padding None means "same" in TensorFlow's sense (odd pixel after)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, padding: int | None) -> None:
        super().__init__()
        self.same, self.padding = padding is None, padding or 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, self.padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = _pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])
        return torch.relu_(self.norm(self.conv(x)))


class _First(_Conv):
    """conv1 on pixels in [0, 1] (or other channels), which it brings to zero mean and unit deviation.

    Squares as wide as the stride are folded into channels, and a convolution without a stride goes over those: the same
    sums in half the time, over many channels and few taps instead of three channels and 121 taps.

    Args:
        mean: of each input channel.
        std: likewise.
        outputs: channels.
        kernel: side.
        stride: in pixels.
        padding: None means "same".
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
        kernel, stride, sides = self.conv.kernel_size[0], self.conv.stride[0], x.shape[-2:]
        if self.same:
            places, before = zip(*((-(-n // stride), _same_padding(n, kernel, stride)[0]) for n in sides), strict=True)
        else:
            places, before = tuple((n + 2 * self.padding - kernel) // stride + 1 for n in sides), (self.padding,) * 2
        # One pixel more of padding, and one tap in front of the kernel: then the squares always suffice.
        weight = pad(self.conv.weight / self.std, 2 * (1, -(kernel + 1) % stride))
        channels = x.shape[1]
        squares = torch.eye(channels * stride**2, device=x.device).view(-1, channels, stride, stride)
        squares = squares.contiguous(memory_format=torch.channels_last)
        outside = tuple((n + 1) // stride for n in before)
        if any((n + 1) % stride for n in before) or any(n % stride for n in sides):
            high, wide = (n + weight.shape[-1] // stride - 1 for n in places)
            x = conv2d(x - self.mean, squares, stride=stride, padding=tuple(n + 1 for n in before))[..., :high, :wide]
            outside = (0, 0)
        else:  # whole squares of padding can wait, and spare a pass over the pixels
            x = conv2d(x, squares, -self.mean.flatten().repeat_interleave(stride**2), stride=stride)
        return torch.relu_(self.norm(conv2d(x, pixel_unshuffle(weight, stride), padding=outside)))


def check_pictures(images: Tensor, channels: int, size: int) -> None:
    """Refuse what a trunk was not made for.

    Raises:
        CodialError: pictures of another shape.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != (channels, size, size):
        raise CodialError(f"Pictures are {list(images.shape)}; this trunk takes [B, {channels}, {size}, {size}].")


def _same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels before and after a line of this length that make a convolution yield ceil(length / stride)."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad [B, C, H, W] with zeros as `_same_padding`."""
    before_after = [n for side in (x.shape[-1], x.shape[-2]) for n in _same_padding(side, kernel, stride)]
    return pad(x, before_after) if any(before_after) else x


def width_of(channels: int, factor: float) -> int:
    """Return a layer's width under a factor: a multiple of 8, for groups of two and for vector units."""
    return max(8, 8 * round(channels * factor / 8))


class AlexNet(Trunk):
    """AlexNet with taps conv1..conv5, fc6 and fc7, each after batch norm and ReLU.

    Input is [B, 3, S, S] float in [0, 1]; the colour normalisation of the config is part of the trunk. Maps at a tap
    are taken before the pooling that follows conv1 and conv2.

    Args:
        config: width, resolution, batch norm, normalisation.
        size: S in pixels, which fixes fc6's input.
        mean: of each input channel, where these are not red, green and blue; the config's when left out.
        std: likewise.
    """

    def __init__(
        self, config: ModelConfig, size: int, mean: Channels | None = None, std: Channels | None = None
    ) -> None:
        super().__init__()
        mean, std = mean or config.mean, std or config.std
        self.low = config.resolution == "low"
        paddings = (None,) * 5 if self.low else _FULL_PADDING
        channels = [width_of(c, config.width) for c, *_ in _CONVS]
        self.conv1 = _First(mean, std, channels[0], *_CONVS[0][1:3], paddings[0])
        for i, (_, kernel, stride, groups) in enumerate(_CONVS[1:], 1):
            conv = _Conv(channels[i - 1], channels[i], kernel, stride, groups, paddings[i])
            self.add_module(CONV_TAPS[i], conv)
        self.features = width_of(_FC, config.width)
        self.size, self.inputs = size, len(mean)
        flat = channels[-1] * self._last_side(size) ** 2
        self.fc6 = self._dense(flat, self.features)
        self.fc7 = self._dense(self.features, self.features)
        self._initialise(config)

    def taps(self, images: Tensor, names: Iterable[str] = TAPS) -> dict[str, Tensor]:
        """Return the named activations in the network's order, computing no layer past the last one asked for.

        Raises:
            CodialError: a name is not a tap, or the pictures have another shape than the trunk was made for.
        """
        wanted, found = self.require(names), {}
        check_pictures(images, self.inputs, self.size)
        x = images
        for name in TAPS[: max(TAPS.index(w) for w in wanted) + 1]:
            x = getattr(self, name)(self._before(name, x))
            if name in wanted:
                found[name] = x
        return found

    def maps(self, images: Tensor, layer: str = "conv5") -> Tensor:
        """Return a layer's maps [B, C, h, w] of pictures [B, 3, H, W] of any size, as `Trunk.maps`."""
        self.require([layer])
        x = images
        for name in TAPS[: TAPS.index(layer) + 1]:
            x = getattr(self, name)(self._before(name, x)) if name in CONV_TAPS else self._slide(name, x)
        return x

    def grid(self, layer: str = "conv5") -> tuple[int, float]:
        """Return the pixels between two places of a layer's maps and the centre of the first, as `Trunk.grid`."""
        self.require([layer])
        number = TAPS.index(layer)
        kernel, stride = _CONVS[0][1:3]
        before = _same_padding(16, kernel, stride)[0] if self.low else _FULL_PADDING[0]
        step, first = stride, (kernel - 1) / 2 - before
        for _ in range(min(number, 2) + (number >= 5 and not self.low)):  # pools: the middle one of three, every second
            step, first = 2 * step, first + step
        even = number >= 5 and self._last_side(self.size) % 2 == 0
        return step, first - step / 2 * even

    @property
    def window(self) -> int:
        """Side of what fc6 reads, as `Trunk.window`."""
        return self._last_side(self.size)

    def dense(self, windows: Tensor) -> Tensor:
        """Return fc7 of windows of conv5's maps, as `Trunk.dense`."""
        self.require(["fc7"])
        return self.fc7(self.fc6(windows.flatten(1)))

    def _slide(self, name: str, x: Tensor) -> Tensor:
        """Let a dense layer slide over maps: a convolution by the same weights, as many places as there were."""
        dense, norm, _ = getattr(self, name)
        x = x if self.low or name == "fc7" else self._pool(x)
        side = self._last_side(self.size) if name == "fc6" else 1
        x = pad(x, 2 * (side // 2, (side - 1) // 2))
        x = conv2d(x, dense.weight.view(len(dense.weight), -1, side, side))
        return torch.relu_(norm(x.flatten(2)).view(x.shape))

    def _before(self, name: str, x: Tensor) -> Tensor:
        """Pool or flatten what the layer before left."""
        if name in ("conv2", "conv3"):
            return self._pool(x)
        if name == "fc6":
            return (x if self.low else self._pool(x)).flatten(1)
        return x

    def _pool(self, x: Tensor) -> Tensor:
        # Zero padding is neutral here: what is pooled has passed a ReLU.
        return max_pool2d(_pad_same(x, 3, 2) if self.low else x, 3, 2)

    def _last_side(self, size: int) -> int:
        """Return the side of the maps that fc6 reads."""
        if self.low:
            return -(-size // 16)  # strides 4, 2 and 2, each rounded up
        side = (size + 4 - 11) // 4 + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1
        if side < 1:
            raise CodialError(f"views.size is {size}; resolution 'full' needs at least 63 pixels, or choose 'low'.")
        return side

    @staticmethod
    def _dense(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())

    def _initialise(self, config: ModelConfig) -> None:
        """Truncated normals of 0.01 (convolutions) and 0.005 (dense layers), as GlobStat's code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.02, b=0.02)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.005, a=-0.01, b=0.01)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eps, module.momentum = config.bn_eps, config.bn_momentum
