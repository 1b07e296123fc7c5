"""Gaussian blur with a width of its own for each view."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def kernel_side(size: int, part: float) -> int:
    """Return the odd kernel side nearest to a part of the view's side, at least 3 pixels."""
    return max(3, 2 * round((part * size - 1) / 2) + 1)


def gaussian_blur(views: Tensor, sigma: Tensor, side: int) -> Tensor:
    """Blur each view, edges reflected, as torchvision's functional form does.

    Args:
        views: [N, 3, H, W] float.
        sigma: [N] float, standard deviation in pixels.
        side: kernel side in pixels, odd.

    Returns:
        [N, 3, H, W] float.
    """
    count, channels, height, width = views.shape
    reach = torch.arange(side, device=views.device) - side // 2
    kernel = torch.exp(-reach.square() / (2 * sigma.square().unsqueeze(1)))  # [N, side]
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # [N * 3, side]
    half = side // 2
    x = pad(views, (half, half, half, half), mode="reflect")
    x = x.reshape(1, count * channels, height + 2 * half, width + 2 * half)
    x = conv2d(x, kernel.view(-1, 1, 1, side), groups=count * channels)
    x = conv2d(x, kernel.view(-1, 1, side, 1), groups=count * channels)
    return x.view(count, channels, height, width)
