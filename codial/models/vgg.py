"""VGG with batch norm, on pictures of any size (Simonyan and Zisserman, ICLR 2015)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from codial.config import ModelConfig
from codial.models.alexnet import width_of

_CONVS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}  # 3 x 3 convolutions in each block, by the published depth
SHRINK = 16  # pixels of the picture to one of the last block's maps
_CHANNELS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """The five blocks of VGG-11 or VGG-16, without its dense layers and the pool before them.

    Each convolution is followed by batch norm and ReLU; between two blocks maps are pooled to half their side.

    Args:
        depth: 11 or 16.
        width: multiplies every layer's channels.
        config: what batch norm is like.

    Attributes:
        channels: of each block.
    """

    def __init__(self, depth: int, width: float, config: ModelConfig) -> None:
        super().__init__()
        self.channels = tuple(width_of(c, width) for c in _CHANNELS)
        inputs = (3, *self.channels[:-1])
        self.blocks = nn.ModuleList(
            self._block(count, i, o) for count, i, o in zip(_CONVS[depth], inputs, self.channels, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = config.bn_eps, config.bn_momentum

    @staticmethod
    def _block(count: int, inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(count):
            conv = nn.Conv2d(outputs if i else inputs, outputs, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    def forward(self, images: Tensor, block: int = 5) -> Tensor:
        """Return a block's maps, [B, C, S', S'] with S' = S / 2^(block - 1), rounded down, and C of `channels`.

        Args:
            images: [B, 3, S, S], of zero mean and unit deviation; S is at least 2^(block - 1).
            block: 1 to 5, the last that is computed.
        """
        x = self.blocks[0](images)
        for each in self.blocks[1:block]:
            x = each(max_pool2d(x, 2))
        return torch.as_tensor(x)
