"""The autoencoder of SpotArtifacts, whose code is a small spatial grid (Jenni and Favaro, CVPR 2018)."""

from itertools import pairwise

from torch import Tensor, nn

from codial.config import ModelConfig
from codial.models.alexnet import scale_width

_CHANNELS = (32, 64, 128, 256, 512)  # at the side of the image, at half of it, ... and of the code, at a sixteenth
_NEGATIVE_SLOPE = 0.1


class Autoencoder(nn.Module):
    """Convolutional autoencoder: images [B, 3, S, S] to codes [B, C, S / 16, S / 16] and back.

    Attributes:
        channels: C, then the channels after each stage of the decoder.
        stages: the stages of the decoder. A network that changes the activations between them calls the stages itself,
            and `to_images` at the end.

    Args:
        width: factor for all numbers of channels; 1 is the original.
        config: settings of batch norm.
    """

    def __init__(self, width: float, config: ModelConfig) -> None:
        super().__init__()
        channels = [scale_width(c, width) for c in _CHANNELS]
        down = [conv_block(a, b, config, kernel=2) for a, b in pairwise(channels)]
        self.encoder = nn.Sequential(conv_block(3, channels[0], config), *down)
        self.channels = channels[::-1]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv_block(a, b, config))
            for a, b in pairwise(self.channels)
        )
        self.last = initialize_conv(nn.Conv2d(channels[0], 3, 3, padding=1))

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images [B, 3, S, S] in [0, 1]; S is a multiple of 16."""
        return self.encoder(2 * images - 1)

    def decode(self, code: Tensor) -> Tensor:
        """Return the images of codes, [B, 3, S, S] float32 in [0, 1]."""
        for stage in self.stages:
            code = stage(code)
        return self.to_images(code)

    def to_images(self, x: Tensor) -> Tensor:
        """Convert the output of the decoder's last stage to images, [B, 3, S, S] float32 in [0, 1]."""
        return (self.last(x).float().tanh() + 1) / 2


def conv_block(inputs: int, outputs: int, config: ModelConfig, kernel: int = 3) -> nn.Sequential:
    """Return a convolution, batch norm and leaky ReLU; kernel 3 keeps the side of the maps, kernel 2 halves it."""
    stride, padding = (2, 0) if kernel == 2 else (1, 1)
    conv = initialize_conv(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False))
    norm = nn.BatchNorm2d(outputs, config.bn_eps, config.bn_momentum)
    return nn.Sequential(conv, norm, nn.LeakyReLU(_NEGATIVE_SLOPE, inplace=True))


def initialize_conv(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialize the weights by He's rule with the mean of fan-in and fan-out, and the bias with 0."""
    nn.init.xavier_normal_(conv.weight, gain=2**0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
