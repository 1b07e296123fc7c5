"""Parameters chosen by hand where the sampler would draw them: to show one transform, or to try it out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codial.views.drawing import Drawn
from codial.views.warp import POINTS, control_points


def by_hand(
    picture: tuple[int, int],
    size: int,
    *,
    area: float = 1.0,
    aspect: float = 1.0,
    place: tuple[float, float] = (0.5, 0.5),
    flip: bool = False,
    factors: Sequence[float] = (1.0, 1.0, 1.0, 0.0),
    order: Sequence[int] = (0, 1, 2, 3),
    sigma: float = 0.0,
    offsets: Tensor | None = None,
) -> Drawn:
    """Return the parameters of one view of one picture, as `render` takes them; what is left out changes nothing.

    Args:
        picture: (height, width) in pixels.
        size: side of the view in pixels.
        area: part of the picture's area that the crop has, in (0, 1].
        aspect: width of the crop over its height; a side that would be longer than the picture's is cut to it.
        place: where the crop lies between the left and the right end and between the top and the bottom, in [0, 1].
        flip: mirror left and right.
        factors: brightness, contrast and saturation as factors, hue as a shift in turns.
        order: of these four, by their places in `factors`.
        sigma: blur in view pixels.
        offsets: warp displacements (dx, dy) in view pixels, [16, 2].
    """
    height, width = picture
    sides = (area * height * width * aspect) ** 0.5, (area * height * width / aspect) ** 0.5
    across, down = min(sides[0], width), min(sides[1], height)
    box = ((width - across) * place[0], (height - down) * place[1], across, down)
    return Drawn(
        flip=torch.tensor([flip]),
        box=torch.tensor([[box]], dtype=torch.float32),
        factors=torch.tensor([[tuple(factors)]], dtype=torch.float32),
        order=torch.tensor([[tuple(order)]]),
        sigma=torch.tensor([[sigma]], dtype=torch.float32),
        offsets=torch.zeros(1, POINTS, 2) if offsets is None else offsets.float().view(1, POINTS, 2),
        points=control_points(size).float().unsqueeze(0),
    )
