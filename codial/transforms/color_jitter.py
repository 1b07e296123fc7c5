"""Color jitter of image batches: brightness, contrast, saturation and hue, in a different order for each view.

Each operation equals torchvision's functional form on float images. The first three are linear in the colors of a
view, so one 3 x 3 matrix and one offset per view perform whichever of them comes next; hue is computed separately.
"""

import torch
from torch import Tensor

from codial.utils.devices import constant, to_device

OPERATIONS = ("brightness", "contrast", "saturation", "hue")
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
GRAY_WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue, as in torchvision


@torch.no_grad()
def jitter(views: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Change the colors of views.

    Args:
        views: [N, 3, H, W] float in [0, 1].
        factors: [N, 4] float: factors of brightness, contrast and saturation (1 changes nothing), and hue shift, as a
            fraction of the full hue circle in [-0.5, 0.5] (0 changes nothing).
        order: [N, 4] int64, each row a permutation of 0..3: indices into `OPERATIONS` in the order of application. On
            the CPU it spares a GPU a synchronization.

    Returns:
        [N, 3, H, W] float in [0, 1], a new tensor.
    """
    device = views.device
    gray_weights = constant(GRAY_WEIGHTS, device)
    matrices, mean_weights = _linear_steps(factors, to_device(order, device), gray_weights)
    x = views.flatten(2)  # [N, 3, H * W]
    y = torch.empty_like(x)
    for step in range(order.shape[1]):
        offset = mean_weights[step] * (x.mean(-1) @ gray_weights)  # [N]
        torch.bmm(matrices[step], x, out=y).add_(offset.view(-1, 1, 1)).clamp_(0, 1)
        rows = to_device((order[:, step] == HUE).nonzero().squeeze(1), device)
        if len(rows):
            y.index_copy_(0, rows, shift_hue(y[rows], factors[rows, HUE]))
        x, y = y, (torch.empty_like(y) if step == 0 else x)  # the input stays unchanged
    return x.view_as(views)


def _linear_steps(factors: Tensor, order: Tensor, gray_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear map of each step: matrices [4, N, 3, 3] and weights of the mean gray level [4, N].

    Brightness and saturation are matrices, contrast is a matrix and the mean gray level, hue is the identity.
    """
    operation = order.T  # [4, N]
    scale = factors.gather(1, order).T.where(operation != HUE, 1.0)
    gray = (1 - scale).where(operation == SATURATION, 0.0)
    eye = torch.eye(3, device=gray_weights.device)
    matrices = (scale[..., None, None] * eye + gray[..., None, None] * gray_weights.expand(3, 3)).contiguous()
    return matrices, (1 - scale).where(operation == CONTRAST, 0.0)


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue of colors in HSV, as torchvision.

    Arithmetic replaces comparisons and selections, which take several times as long on a CPU.

    Args:
        x: [N, 3, P] float in [0, 1].
        shift: [N] float, fraction of the full hue circle in [-0.5, 0.5].

    Returns:
        [N, 3, P] float in [0, 1].
    """
    red, green, blue = x.unbind(1)
    swapped, first, second = _is_below(green, blue), torch.maximum(green, blue), torch.minimum(green, blue)
    not_red, high, middle = _is_below(red, first), torch.maximum(red, first), torch.minimum(red, first)
    low = torch.minimum(middle, second)
    six_chroma = (high - low).mul_(6)
    # Origin of the sextant on the hue circle: 0 where red is highest, else 1/3; minus 1 and mirrored where swapped.
    origin = not_red.mul_(torch.mul(swapped, 2).sub_(1 / 3)).sub_(swapped)
    hue = middle.sub_(second).div_(six_chroma + 1e-12).add_(origin).abs_().add_(shift.unsqueeze(1))
    # Each channel is a trapezoid function of the hue; they are 1/3 apart. The 1 keeps the input of frac positive.
    phases = constant((1, 1 + 2 / 3, 1 + 1 / 3), x.device).view(1, 3, 1)
    out = (hue.unsqueeze(1) + phases).frac_().sub_(0.5).abs_()  # [N, 3, P]
    out.mul_(six_chroma.unsqueeze(1)).add_(torch.sub(low, six_chroma, alpha=1 / 6).unsqueeze(1))
    return torch.minimum(torch.maximum(out, low.unsqueeze(1), out=out), high.unsqueeze(1), out=out)


def _is_below(a: Tensor, b: Tensor) -> Tensor:
    """Return 1.0 where a < b, else 0.0."""
    return torch.sub(b, a).mul_(1e30).clamp_(0, 1)
