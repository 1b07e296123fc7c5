"""An autoencoder whose code is a small grid of cells: what SpotArtifacts damages, and what it paints with."""

from itertools import pairwise

from torch import Tensor, nn

from codial.config import ModelConfig
from codial.models.alexnet import width_of

_CHANNELS = (32, 64, 128, 256, 512)  # at the picture's side, at a half of it, ..., of the code at a sixteenth
_LEAK = 0.1


class Autoencoder(nn.Module):
    """Pictures [B, 3, S, S] to codes [B, C, S / 16, S / 16] by four strides, and back by four upsamplings.

    Attributes:
        channels: C, then those after each stage of the decoder.
        stages: of the decoder; a network that changes what is between them calls them itself, and `paint` at the end.

    Args:
        width: multiplies all channels; 1 is the original's.
        config: batch norm's settings.
    """

    def __init__(self, width: float, config: ModelConfig) -> None:
        super().__init__()
        channels = [width_of(c, width) for c in _CHANNELS]
        down = [convolved(a, b, config, kernel=2) for a, b in pairwise(channels)]
        self.encoder = nn.Sequential(convolved(3, channels[0], config), *down)
        self.channels = channels[::-1]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), convolved(a, b, config))
            for a, b in pairwise(self.channels)
        )
        self.last = initialised(nn.Conv2d(channels[0], 3, 3, padding=1))

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the codes of pictures [B, 3, S, S] in [0, 1]; S is a multiple of 16."""
        return self.encoder(2 * pictures - 1)

    def decode(self, code: Tensor) -> Tensor:
        """Return pictures [B, 3, S, S] float32 in [0, 1]."""
        for stage in self.stages:
            code = stage(code)
        return self.paint(code)

    def paint(self, x: Tensor) -> Tensor:
        """Turn what the last stage leaves into pictures."""
        return (self.last(x).float().tanh() + 1) / 2


def convolved(inputs: int, outputs: int, config: ModelConfig, kernel: int = 3) -> nn.Sequential:
    """Return a convolution that keeps the side (kernel 3) or halves it (kernel 2), batch norm and a leaky ReLU."""
    stride, padding = (2, 0) if kernel == 2 else (1, 1)
    convolution = initialised(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False))
    norm = nn.BatchNorm2d(outputs, config.bn_eps, config.bn_momentum)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(_LEAK, inplace=True))


def initialised(convolution: nn.Conv2d) -> nn.Conv2d:
    """Draw weights by He's rule over the mean of fan-in and fan-out; the bias is 0."""
    nn.init.xavier_normal_(convolution.weight, gain=2**0.5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
