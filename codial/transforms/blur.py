"""Gaussian blur of image batches, with one standard deviation per image."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def kernel_size(size: int, fraction: float) -> int:
    """Return the odd number closest to a fraction of the view's side, at least 3 (pixels)."""
    return max(3, 2 * round((fraction * size - 1) / 2) + 1)


def gaussian_blur(views: Tensor, sigma: Tensor, side: int) -> Tensor:
    """Blur each view, with reflected borders, as torchvision's functional `gaussian_blur`.

    Args:
        views: [N, 3, H, W] float.
        sigma: standard deviations in pixels, [N] float.
        side: side of the kernel in pixels, odd.

    Returns:
        [N, 3, H, W] float.
    """
    count, channels, height, width = views.shape
    offsets = torch.arange(side, device=views.device) - side // 2
    kernel = torch.exp(-offsets.square() / (2 * sigma.square().unsqueeze(1)))  # [N, side]
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # [N * 3, side]
    half = side // 2
    x = pad(views, (half, half, half, half), mode="reflect")
    x = x.reshape(1, count * channels, height + 2 * half, width + 2 * half)
    x = conv2d(x, kernel.view(-1, 1, 1, side), groups=count * channels)
    x = conv2d(x, kernel.view(-1, 1, side, 1), groups=count * channels)
    return x.view(count, channels, height, width)
