"""A fully convolutional network on a backbone, and its random training crops."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.optim.swa_utils import update_bn

from codial.data.datasets.voc import IGNORE_INDEX
from codial.models import TransferBackbone

STEP = 32  # images are padded to multiples of it, pixels
MIN_SIDE = 64  # images are padded to at least this; the classic AlexNet has no last maps for less, pixels


class Fcn(nn.Module):
    """Fully convolutional network (Long, Shelhamer and Darrell, CVPR 2015) with a 1 x 1 convolution on the last layer.

    Scores are interpolated bilinearly to pixels, each score at the center of its receptive field. The last layer is
    initialized with zeros.

    Args:
        backbone: the backbone, all layers of which are fine-tuned.
        classes: number of classes with background.
        zoom: factor by which images are resized first.
    """

    def __init__(self, backbone: TransferBackbone, classes: int, zoom: float = 1.0) -> None:
        super().__init__()
        self.backbone, self.zoom = backbone, zoom
        self.score = nn.Conv2d(backbone.feature_dim, classes, 1)
        for values in self.score.parameters():
            nn.init.zeros_(values)

    def forward(self, images: Tensor, sides: tuple[int, int] | None = None, zoom: float = 1.0) -> Tensor:
        """Return scores [B, classes, H, W].

        Args:
            images: [B, 3, h, w] in [0, 1].
            sides: H and W; h and w by default.
            zoom: size of a pixel of the scores in pixels of the images.
        """
        sides = sides or (images.shape[-2], images.shape[-1])
        bottom, right = (max(MIN_SIDE - n, -n % STEP) for n in images.shape[-2:])
        last = self.backbone.layers[-1]
        scores = self.score(self.backbone.maps(pad(images, (0, right, 0, bottom), mode="replicate"), last))
        step, first = self.backbone.grid(last)
        rows, columns = (
            _interpolation_matrix(cells, pixels, step / zoom, (first + 0.5) / zoom - 0.5, scores)
            for cells, pixels in zip(scores.shape[-2:], sides, strict=True)
        )
        return rows @ scores @ columns.T

    def pixels(self, image: Tensor) -> Tensor:
        """Return scores [classes, H, W] of one image [3, H, W] uint8 at its original size."""
        batch = image.unsqueeze(0).float() / 255
        sides = image.shape[1], image.shape[2]
        if self.zoom != 1:
            small = [max(1, round(n * self.zoom)) for n in sides]
            batch = interpolate(batch, small, mode="bilinear", antialias=True).clamp(0, 1)
        return self(batch, sides, self.zoom)[0]

    def recompute_statistics(self, batches: Iterable[Tensor]) -> None:
        """Set batch norm's running statistics to the mean over some batches, and the network to evaluation mode.

        Exponential averages would lag behind the weights, by an amount that depends on settings.
        """
        update_bn(batches, self)
        self.eval()


def _interpolation_matrix(cells: int, pixels: int, step: float, first: float, like: Tensor) -> Tensor:
    """Return the weights [pixels, cells] of linear interpolation; pixels beyond the outer cells get their values."""
    position = ((torch.arange(pixels) - first) / step).clamp(0, cells - 1)
    return (1 - (position.unsqueeze(1) - torch.arange(cells)).abs()).clamp_min(0).to(like)


def crop(
    image: Tensor, mask: Tensor, side: int, scales: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Crop a random square of an image and its mask, at a random scale, mirrored with probability 0.5.

    Outside the image, the crop has the image's mean color, and the mask is ignored.

    Args:
        image: [3, H, W] uint8.
        mask: [H, W] uint8.
        side: side of the result in pixels.
        scales: minimum and maximum scale, sampled log-uniformly; at 0.5 the crop covers twice the side.
        generator: random generator.

    Returns:
        [3, side, side] float32 in [0, 1], bilinear and antialiased, and [side, side] uint8, nearest neighbor.
    """
    random = torch.rand(4, generator=generator).tolist()
    low, high = scales
    window = max(1, round(side / (low * (high / low) ** random[0])))
    height, width = mask.shape
    top, left = (round(part * (n - window)) for part, n in zip(random[1:3], (height, width), strict=True))
    window_image = image[:, max(top, 0) : top + window, max(left, 0) : left + window].float() / 255
    cut = mask[max(top, 0) : top + window, max(left, 0) : left + window]
    outside = (max(-left, 0), window - max(-left, 0) - cut.shape[1], max(-top, 0), window - max(-top, 0) - cut.shape[0])
    if any(outside):
        mean = window_image.mean((1, 2), keepdim=True)
        window_image = pad(window_image - mean, outside) + mean
        cut = pad(cut, outside, value=IGNORE_INDEX)
    window_image = interpolate(window_image.unsqueeze(0), (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)
    cut = interpolate(cut[None, None].float(), (side, side), mode="nearest-exact")[0, 0].to(torch.uint8)
    return (window_image.flip(-1), cut.flip(-1)) if random[3] < 0.5 else (window_image, cut)
