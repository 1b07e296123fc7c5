"""Random and center crops for the protocols of Zhang et al. and GlobStat: squares of one size, perhaps mirrored."""

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.transforms import ViewParams, render
from codial.transforms.warp import POINTS, control_points


def random_crops(images: Tensor, fraction: float, size: int, generator: torch.Generator) -> Tensor:
    """Return a crop of each image at a random position, mirrored with probability 0.5.

    Args:
        images: [B, 3, H, W] uint8 or float in [0, 1]; crops lie in the central square of a non-square image.
        fraction: the crop's side as a fraction of the square's; positions are integer pixels.
        size: side in pixels to which crops are resized.
        generator: a CPU generator.

    Returns:
        [B, 3, size, size] float in [0, 1].
    """
    random = torch.rand(len(images), 3, generator=generator)
    margin = min(images.shape[2:]) - _side(images, fraction)
    corners = (random[:, :2] * (margin + 1)).floor().clamp(max=margin)
    return _crop(images, corners, fraction, size, random[:, 2] < 0.5)


def center_crops(images: Tensor, fraction: float, size: int) -> Tensor:
    """Return the center crop of each image, [B, 3, size, size]; arguments as in `random_crops`."""
    margin = min(images.shape[2:]) - _side(images, fraction)
    corners = torch.full((len(images), 2), float(margin // 2))
    return _crop(images, corners, fraction, size, torch.zeros(len(images), dtype=torch.bool))


def _side(images: Tensor, fraction: float) -> int:
    return max(1, round(fraction * min(images.shape[2:])))


def _crop(images: Tensor, corners: Tensor, fraction: float, size: int, flip: Tensor) -> Tensor:
    """Return crops with left and top `corners` [B, 2] in the central square."""
    height, width = images.shape[2:]
    count = len(images)
    square = min(height, width)
    start = torch.tensor([(width - square) // 2, (height - square) // 2])
    box = torch.cat((corners + start, torch.full((count, 2), float(_side(images, fraction)))), 1)
    params = ViewParams(
        flip=flip,
        box=box.unsqueeze(1),
        factors=torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(count, 1, 1),
        order=torch.arange(4).repeat(count, 1, 1),
        sigma=torch.zeros(count, 1),
        offsets=torch.zeros(count, POINTS, 2),
        points=control_points(size).float().repeat(count, 1, 1),
    )
    plain = ViewsConfig(size=size, primary=("rot0",), brightness=0, contrast=0, saturation=0, hue=0)
    return render(images, params, plain).images.squeeze(1)
