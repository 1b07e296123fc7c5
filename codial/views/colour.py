"""Colour jitter on batches: brightness, contrast, saturation and hue in an order drawn for each view.

Each operation does what torchvision's functional form does on float pictures. The first three are linear in a view's
colours, so one 3 x 3 matrix and one offset a view do whichever of them is that view's turn; hue takes its own path.
"""

import torch
from torch import Tensor

from codial.devices import constant, to_device

OPERATIONS = ("brightness", "contrast", "saturation", "hue")
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
GREY = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue


@torch.no_grad()
def jitter(views: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Return views with their colours changed.

    Args:
        views: [N, 3, H, W] float in [0, 1].
        factors: [N, 4] float: brightness, contrast and saturation as factors (1 changes nothing), hue as a shift in
            turns of the colour circle, [-0.5, 0.5] (0 changes nothing).
        order: [N, 4] int64, each row a permutation of 0..3: which operation comes first, second, third, last. Given on
            the CPU, it spares a GPU the wait for its values.

    Returns:
        [N, 3, H, W] float in [0, 1], a new tensor.
    """
    device, grey = views.device, constant(GREY, views.device)
    matrices, pulls = _linear_steps(factors, to_device(order, device), grey)
    x, y = views.flatten(2), torch.empty_like(views).flatten(2)  # [N, 3, H * W]
    for place in range(order.shape[1]):
        offset = pulls[place] * (x.mean(-1) @ grey)  # [N]
        torch.bmm(matrices[place], x, out=y).add_(offset.view(-1, 1, 1)).clamp_(0, 1)
        rows = to_device((order[:, place] == HUE).nonzero().squeeze(1), device)
        if len(rows):
            y.index_copy_(0, rows, shift_hue(y[rows], factors[rows, HUE]))
        x, y = y, (torch.empty_like(y) if place == 0 else x)  # the caller's views are left as they are
    return x.view_as(views)


def _linear_steps(factors: Tensor, order: Tensor, grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each place in the order the views' matrices [4, N, 3, 3] and pulls towards their mean grey [4, N].

    Hue's turn gets the identity.
    """
    turn = order.T  # [4, N]
    scale = factors.gather(1, order).T.where(turn != HUE, 1.0)
    rest = (1 - scale).where(turn == SATURATION, 0.0)
    eye = torch.eye(3, device=grey.device)
    matrices = (scale[..., None, None] * eye + rest[..., None, None] * grey.expand(3, 3)).contiguous()
    return matrices, (1 - scale).where(turn == CONTRAST, 0.0)


def shift_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of colours [N, 3, P] in [0, 1] by [N] turns, in HSV's hexagon as torchvision does.

    Written with arithmetic in place of comparisons and selections, which take several times as long on a CPU.
    """
    red, green, blue = x.unbind(1)
    swapped, first, second = _is_below(green, blue), torch.maximum(green, blue), torch.minimum(green, blue)
    not_red, high, middle = _is_below(red, first), torch.maximum(red, first), torch.minimum(red, first)
    low = torch.minimum(middle, second)
    six_chroma = (high - low).mul_(6)
    # The sextant's origin in turns: 0 where red is highest, else 1/3; less one and counted backwards where swapped.
    origin = not_red.mul_(torch.mul(swapped, 2).sub_(1 / 3)).sub_(swapped)
    hue = middle.sub_(second).div_(six_chroma + 1e-12).add_(origin).abs_().add_(turns.unsqueeze(1))
    # Along the hexagon each channel is a trapezium of the hue, a third of a turn apart; 1 keeps frac's input positive.
    apart = constant((1, 1 + 2 / 3, 1 + 1 / 3), x.device).view(1, 3, 1)
    out = (hue.unsqueeze(1) + apart).frac_().sub_(0.5).abs_()  # [N, 3, P]
    out.mul_(six_chroma.unsqueeze(1)).add_(torch.sub(low, six_chroma, alpha=1 / 6).unsqueeze(1))
    return torch.minimum(torch.maximum(out, low.unsqueeze(1), out=out), high.unsqueeze(1), out=out)


def _is_below(a: Tensor, b: Tensor) -> Tensor:
    """Return 1.0 where a < b, else 0.0."""
    return torch.sub(b, a).mul_(1e30).clamp_(0, 1)
