"""Plain crops, as the older probes see pictures: a square of one size at a random place, perhaps mirrored."""

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.views import Drawn, render
from codial.views.warp import POINTS, control_points


def random_crops(pictures: Tensor, share: float, size: int, generator: torch.Generator) -> Tensor:
    """Return a crop of each picture at a random place, every other one mirrored.

    Args:
        pictures: [B, 3, H, W] uint8 or float in [0, 1]; of an oblong one the middle square is cropped.
        share: the crop's side as a part of the square's; places are whole pixels.
        size: side of the crop in pixels once it is resized.
        generator: a CPU generator.

    Returns:
        [B, 3, size, size] float in [0, 1].
    """
    drawn = torch.rand(len(pictures), 3, generator=generator)
    room = min(pictures.shape[2:]) - _side(pictures, share)
    places = (drawn[:, :2] * (room + 1)).floor().clamp(max=room)
    return _cropped(pictures, places, share, size, drawn[:, 2] < 0.5)


def central_crops(pictures: Tensor, share: float, size: int) -> Tensor:
    """Return the crop in the middle of each picture, [B, 3, size, size]; arguments as of `random_crops`."""
    room = min(pictures.shape[2:]) - _side(pictures, share)
    places = torch.full((len(pictures), 2), float(room // 2))
    return _cropped(pictures, places, share, size, torch.zeros(len(pictures), dtype=torch.bool))


def _side(pictures: Tensor, share: float) -> int:
    return max(1, round(share * min(pictures.shape[2:])))


def _cropped(pictures: Tensor, places: Tensor, share: float, size: int, flip: Tensor) -> Tensor:
    """Return crops whose left and top in the middle square are `places` [B, 2]."""
    (height, width), count = pictures.shape[2:], len(pictures)
    square, side = min(height, width), _side(pictures, share)
    start = torch.tensor([(width - square) // 2, (height - square) // 2])
    box = torch.cat((places + start, torch.full((count, 2), float(side))), 1)
    drawn = Drawn(
        flip=flip,
        box=box.unsqueeze(1),
        factors=torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(count, 1, 1),
        order=torch.arange(4).repeat(count, 1, 1),
        sigma=torch.zeros(count, 1),
        offsets=torch.zeros(count, POINTS, 2),
        points=control_points(size).float().repeat(count, 1, 1),
    )
    plain = ViewsConfig(size=size, primary=("turn0",), brightness=0, contrast=0, saturation=0, hue=0)
    return render(pictures, drawn, plain).images.squeeze(1)
