"""Crop, flip, rotation and warp as one sampling grid, so that each view is resampled only once.

A pixel of a view is mapped to the image through rotation, warp, flip and crop box, in this order. Rotations by 90
degrees are exact, because they only permute coordinates.

Where a crop is downscaled, it is sampled from a pyramid of smoothed copies of the image, whose smoothness matches the
triangle filter of torchvision and Pillow: its variance for a downscaling by s is (s^2 - 1) / 6 square pixels more than
that of bilinear interpolation. A binomial kernel with gaps of 1, 2, 4... adds 1/2, 2, 8..., which is exactly that for
s = 2, 4, 8... In between, two copies are interpolated so that the variance fits.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from codial.errors import CodialError
from codial.utils.devices import constant

TOLERANCE = 1e-4  # pixels; coordinates have rounding errors of about 1e-5


def rotate(images: Tensor, k: Tensor | int) -> Tensor:
    """Rotate square images by k times 90 degrees, counter-clockwise and without interpolation.

    Args:
        images: [B, 3, S, S].
        k: number of rotations by 90 degrees, modulo 4: one integer for all images or [B] int64.

    Returns:
        [B, 3, S, S], a new tensor.

    Raises:
        CodialError: the images are not square, or k is not an integer or has another shape.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise CodialError(f"Images are {list(images.shape)}; expected square ones, [B, 3, S, S].")
    k = torch.as_tensor(k, device=images.device)
    if k.is_floating_point() or k.shape not in ((), (len(images),)):
        given = f"{k.dtype} {list(k.shape)}"
        raise CodialError(f"k is {given}; expected an integer, or one integer for each of {len(images)} images.")
    k = k.expand(len(images)) % 4
    rotated = torch.empty_like(images)
    for times in range(4):
        rows = k == times
        rotated[rows] = torch.rot90(images[rows], times, (-2, -1))
    return rotated


def sampling_grid(boxes: Tensor, flip: Tensor, size: int, rotations: tuple[int, ...], replicate: bool) -> Tensor:
    """Return the image coordinates of every pixel of views that are not warped.

    Columns and rows are mapped separately and combined at the end.

    Args:
        boxes: [B, K, 4] float, crop boxes (left, top, width, height) in image pixels.
        flip: [B] bool, whether to flip horizontally.
        size: S, side of the views in pixels.
        rotations: for each of the K views the number of rotations by 90 degrees, counter-clockwise.
        replicate: whether to replicate the edges of boxes beyond them, by `clamp_to_boxes`.

    Returns:
        [B, K, S, S, 2] float (x, y) in image pixels (integers are centers of pixels).
    """
    ticks = torch.arange(size, dtype=torch.float32, device=boxes.device)
    line = view_to_image(ticks.view(1, 1, size, 1, 1).expand(len(boxes), len(rotations), size, 1, 2), boxes, flip)
    line = (clamp_to_boxes(line, boxes) if replicate else line).squeeze(3)  # [B, K, S, 2]
    grid = line.new_empty(len(boxes), len(rotations), size, size, 2)
    for k, rotation in enumerate(r % 4 for r in rotations):
        x = line[:, k, :, 0].flip(-1) if rotation in (1, 2) else line[:, k, :, 0]
        y = line[:, k, :, 1].flip(-1) if rotation in (2, 3) else line[:, k, :, 1]
        along, down = (1, 2) if rotation % 2 == 0 else (2, 1)  # an odd number of rotations swaps columns and rows
        grid[:, k, :, :, 0] = x.unsqueeze(along)
        grid[:, k, :, :, 1] = y.unsqueeze(down)
    return grid


def view_to_image(points: Tensor, boxes: Tensor, flip: Tensor) -> Tensor:
    """Map coordinates in views to coordinates in their images.

    Args:
        points: [B, K, S, ..., 2] float (x, y) in view pixels, for views with side S.
        boxes: [B, K, 4] float, crop boxes (left, top, width, height) in image pixels.
        flip: [B] bool, whether to flip horizontally.

    Returns:
        The same shape, (x, y) in image pixels (integers are centers of pixels).
    """
    size = points.shape[2]
    scale = boxes[..., 2:] / size  # [B, K, 2]
    start = boxes[..., :2] + scale / 2 - 0.5
    flipped = flip.view(-1, 1)
    scale_x = torch.where(flipped, -scale[..., 0], scale[..., 0])
    start_x = torch.where(flipped, start[..., 0] + scale[..., 0] * (size - 1), start[..., 0])
    scale = torch.stack((scale_x, scale[..., 1]), -1)[:, :, None, None]
    start = torch.stack((start_x, start[..., 1]), -1)[:, :, None, None]
    return torch.addcmul(start, points, scale)


def clamp_to_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Clamp image coordinates to crop boxes, so that the edge of a box is replicated beyond it.

    In a box narrower than one pixel, coordinates are clamped to the pixels that it touches.
    """
    start, length = boxes[:, :, None, None, :2], boxes[:, :, None, None, 2:]
    end = start + length - 1
    narrow = length < 1
    first = (start + TOLERANCE).floor()
    low = torch.where(narrow, first, start)
    high = torch.where(narrow, torch.maximum(first, (end - TOLERANCE).ceil()), end)
    return torch.minimum(torch.maximum(points, low), high)


def pyramid_levels(downscale: float) -> int:
    """Return the number of smoothed copies that a downscaling by up to this factor needs."""
    return max(0, math.ceil(math.log2(downscale) - 1e-6))


def resample(images: Tensor, grid: Tensor, downscale: Tensor) -> Tensor:
    """Sample images at the coordinates of their views, smoothed according to the downscaling of each view.

    Args:
        images: [B, 3, H, W] uint8 or float in [0, 1].
        grid: [B, K, S, S, 2] float (x, y) in image pixels; the image's edge is replicated beyond it.
        downscale: [B, K] float, image pixels per view pixel; 1 or less needs no smoothing.

    Returns:
        [B, K, 3, S, S] float in [0, 1].
    """
    batch, channels, height, width = images.shape
    views, size = grid.shape[1:3]
    images = images.float().div_(255) if images.dtype == torch.uint8 else images.float()
    levels = pyramid_levels(max(height, width) / size)
    pyramid = torch.cat(_pyramid(images, levels), 1) if levels else images  # [B, 3 (L + 1), H, W]
    grid = grid.view(batch, views * size, size, 2)  # all views of an image as one tall grid
    scale = constant((2 / width, 2 / height), grid.device)
    grid = torch.addcmul(scale / 2 - 1, grid, scale)  # from pixels to [-1, 1] between the outer edges
    samples = grid_sample(pyramid, grid, mode="bilinear", padding_mode="border", align_corners=False)
    samples = samples.view(batch, levels + 1, channels, views, size, size)
    return _blend(samples.permute(0, 3, 1, 2, 4, 5), downscale, levels)


def _pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """Return the images and `levels` smoothed copies; level l adds a variance of (4^l - 1) / 6 square pixels."""
    copies = [images]
    for level in range(levels):
        copies.append(_smooth(copies[-1], 2**level))
    return copies


def _smooth(x: Tensor, gap: int) -> Tensor:
    """Smooth [B, 3, H, W] by [1 2 1] / 4 in both directions, with taps `gap` pixels apart and replicated edges."""
    x = pad(x, (gap, gap, 0, 0), mode="replicate")
    x = (x[..., : -2 * gap] + x[..., 2 * gap :]).add_(x[..., gap:-gap], alpha=2).mul_(0.25)
    x = pad(x, (0, 0, gap, gap), mode="replicate")
    return (x[..., : -2 * gap, :] + x[..., 2 * gap :, :]).add_(x[..., gap:-gap, :], alpha=2).mul_(0.25)


def _blend(samples: Tensor, downscale: Tensor, levels: int) -> Tensor:
    """Interpolate between the two levels of samples [B, K, L + 1, 3, S, S] around each view's downscaling [B, K]."""
    if not levels:
        return samples[:, :, 0]
    per_view = (slice(None), slice(None), None, None, None)
    variance = (downscale.clamp(min=1).square() - 1) / 6  # square pixels
    blended = samples[:, :, 0]
    for level in range(levels):
        low, high = (4**level - 1) / 6, (4 ** (level + 1) - 1) / 6
        weight = ((variance - low) / (high - low)).clamp(0, 1)
        blended = torch.lerp(blended, samples[:, :, level + 1], weight[per_view])
    return blended


def plain_view(images: Tensor, size: int) -> Tensor:
    """Resize images without augmentation, as probes and retrieval see them.

    Args:
        images: [B, 3, H, W] uint8 or float in [0, 1]; if not square, the center square is cropped.
        size: side of the result in pixels.

    Returns:
        [B, 3, size, size] float in [0, 1], by antialiased bilinear interpolation.
    """
    side = min(images.shape[-2:])
    top, left = (images.shape[-2] - side) // 2, (images.shape[-1] - side) // 2
    square = images[..., top : top + side, left : left + side]
    square = square.float().div_(255) if square.dtype == torch.uint8 else square.float()
    if side == size:
        return square
    return interpolate(square, (size, size), mode="bilinear", antialias=side > size, align_corners=False).clamp(0, 1)
