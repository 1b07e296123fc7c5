"""VGG with batch norm, for images of any size (Simonyan and Zisserman, ICLR 2015)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from codial.config import ModelConfig
from codial.models.alexnet import scale_width

_CONVS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}  # 3 x 3 convolutions in each block, by depth
VGG_STRIDE = 16  # pixels of the image per unit of the last block's maps
_CHANNELS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """The five blocks of VGG-11 or VGG-16, without the last pooling and the fully connected layers.

    Each convolution is followed by batch norm and ReLU; max pooling halves the side of the maps between blocks.

    Args:
        depth: 11 or 16.
        width: factor for all numbers of channels; 1 is the original.
        config: settings of batch norm.

    Attributes:
        channels: output channels of each block.
    """

    def __init__(self, depth: int, width: float, config: ModelConfig) -> None:
        super().__init__()
        self.channels = tuple(scale_width(c, width) for c in _CHANNELS)
        inputs = (3, *self.channels[:-1])
        self.blocks = nn.ModuleList(
            self._block(count, i, o) for count, i, o in zip(_CONVS[depth], inputs, self.channels, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.eps = config.bn_eps
                module.momentum = config.bn_momentum

    @staticmethod
    def _block(convs: int, inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(convs):
            conv = nn.Conv2d(outputs if i else inputs, outputs, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    def forward(self, images: Tensor, block: int = 5) -> Tensor:
        """Return the maps of a block.

        Args:
            images: [B, 3, S, S] float, normalized to zero mean and unit standard deviation; S is at least
                2^(block - 1).
            block: 1 to 5, the last block to compute.

        Returns:
            [B, C, S', S'] with S' = S / 2^(block - 1), rounded down, and C the block's entry in `channels`.
        """
        x = self.blocks[0](images)
        for layers in self.blocks[1:block]:
            x = layers(max_pool2d(x, 2))
        return torch.as_tensor(x)
