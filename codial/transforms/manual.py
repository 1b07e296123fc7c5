"""View parameters set by hand instead of sampled, to show or try out single transforms."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codial.transforms.random_params import ViewParams
from codial.transforms.warp import POINTS, control_points


def manual_params(
    image: tuple[int, int],
    size: int,
    *,
    area: float = 1.0,
    aspect: float = 1.0,
    position: tuple[float, float] = (0.5, 0.5),
    flip: bool = False,
    factors: Sequence[float] = (1.0, 1.0, 1.0, 0.0),
    order: Sequence[int] = (0, 1, 2, 3),
    sigma: float = 0.0,
    offsets: Tensor | None = None,
) -> ViewParams:
    """Return the parameters of one view of one image, for `render`; the defaults change nothing.

    Args:
        image: (height, width) in pixels.
        size: side of the view in pixels.
        area: area of the crop as a fraction of the image's, in (0, 1].
        aspect: width of the crop divided by its height; a side longer than the image's is cut to it.
        position: of the crop, from 0 (left, top) to 1 (right, bottom): (horizontal, vertical).
        flip: whether to flip horizontally.
        factors: factors of brightness, contrast and saturation, and hue shift, as a fraction of the full hue circle in
            [-0.5, 0.5].
        order: indices into `factors` in the order of application.
        sigma: standard deviation of the blur in view pixels; 0 for none.
        offsets: displacements (dx, dy) of the warp's control points in view pixels, [16, 2]; none by default.
    """
    height, width = image
    crop_width = min((area * height * width * aspect) ** 0.5, width)
    crop_height = min((area * height * width / aspect) ** 0.5, height)
    box = ((width - crop_width) * position[0], (height - crop_height) * position[1], crop_width, crop_height)
    return ViewParams(
        flip=torch.tensor([flip]),
        box=torch.tensor([[box]], dtype=torch.float32),
        factors=torch.tensor([[tuple(factors)]], dtype=torch.float32),
        order=torch.tensor([[tuple(order)]]),
        sigma=torch.tensor([[sigma]], dtype=torch.float32),
        offsets=torch.zeros(1, POINTS, 2) if offsets is None else offsets.float().view(1, POINTS, 2),
        points=control_points(size).float().unsqueeze(0),
    )
