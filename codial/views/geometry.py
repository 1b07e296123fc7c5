"""Crop, flip, quarter turn and warp as one sampling grid, read once.

A view's pixel finds its place in the picture through: quarter turn, warp, mirror, crop box. Only coordinates are moved,
so a quarter turn is exact. Where a crop shrinks, the picture is read from a stack of ever smoother copies, whose
smoothness matches the triangle filter that torchvision and Pillow would use: the filter's variance for a shrink by s is
(s^2 - 1) / 6 square pixels beyond bilinear reading, and a binomial kernel with gaps of 1, 2, 4... adds 1/2, 2, 8...,
which is exactly that for s = 2, 4, 8... In between, two copies are blended so that the variance fits.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from codial.devices import constant
from codial.errors import CodialError

NEAR = 1e-4  # pixels; places are rounded by some 1e-5


def rotate(images: Tensor, quarter_turns: Tensor | int) -> Tensor:
    """Turn square pictures by quarter turns, counter-clockwise; exact, for it only moves pixels.

    Args:
        images: [B, 3, S, S].
        quarter_turns: one number, or [B] int64; any whole number, taken modulo 4.

    Returns:
        [B, 3, S, S], a new tensor.

    Raises:
        CodialError: the pictures are not square, or the turns are not whole numbers, one or one a picture.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise CodialError(f"Pictures are {list(images.shape)}; a quarter turn takes square ones, [B, 3, S, S].")
    turns = torch.as_tensor(quarter_turns, device=images.device)
    if turns.is_floating_point() or turns.shape not in ((), (len(images),)):
        got = f"{turns.dtype} {list(turns.shape)}"
        raise CodialError(f"Quarter turns are {got}; expected one whole number, or one for each of {len(images)}.")
    turns = turns.expand(len(images)) % 4
    turned = torch.empty_like(images)
    for k in range(4):
        rows = turns == k
        turned[rows] = torch.rot90(images[rows], k, (-2, -1))
    return turned


def sampling_places(boxes: Tensor, flip: Tensor, size: int, turns: tuple[int, ...], inside: bool) -> Tensor:
    """Return where in its picture each pixel of unwarped views looks.

    Columns and rows are mapped on their own and put together at the end.

    Args:
        boxes: [B, K, 4] float crop boxes (left, top, width, height) in picture pixels.
        flip: [B] bool, mirror left and right.
        size: side S of the views in pixels.
        turns: K numbers of quarter turns, counter-clockwise.
        inside: hold places inside their boxes, so that a box's edge is repeated rather than looked past.

    Returns:
        [B, K, S, S, 2] float (x, y) in picture pixels (a pixel's centre is a whole number).
    """
    ticks = torch.arange(size, dtype=torch.float32, device=boxes.device)
    line = to_picture(ticks.view(1, 1, size, 1, 1).expand(len(boxes), len(turns), size, 1, 2), boxes, flip)
    line = (within_boxes(line, boxes) if inside else line).squeeze(3)  # [B, K, S, 2]
    places = line.new_empty(len(boxes), len(turns), size, size, 2)
    for k, quarter in enumerate(t % 4 for t in turns):
        x = line[:, k, :, 0].flip(-1) if quarter in (1, 2) else line[:, k, :, 0]
        y = line[:, k, :, 1].flip(-1) if quarter in (2, 3) else line[:, k, :, 1]
        along, down = (1, 2) if quarter % 2 == 0 else (2, 1)  # an odd turn swaps columns and rows
        places[:, k, :, :, 0] = x.unsqueeze(along)
        places[:, k, :, :, 1] = y.unsqueeze(down)
    return places


def to_picture(places: Tensor, boxes: Tensor, flip: Tensor) -> Tensor:
    """Map places in views to places in their pictures.

    Args:
        places: [B, K, S, ..., 2] float (x, y) in view pixels, of views with side S.
        boxes: [B, K, 4] float crop boxes (left, top, width, height) in picture pixels.
        flip: [B] bool, mirror left and right.

    Returns:
        The same shape, (x, y) in picture pixels (a pixel's centre is a whole number).
    """
    size = places.shape[2]
    scale = boxes[..., 2:] / size  # [B, K, 2]
    start = boxes[..., :2] + scale / 2 - 0.5
    mirrored = flip.view(-1, 1)
    scale_x = torch.where(mirrored, -scale[..., 0], scale[..., 0])
    start_x = torch.where(mirrored, start[..., 0] + scale[..., 0] * (size - 1), start[..., 0])
    scale = torch.stack((scale_x, scale[..., 1]), -1)[:, :, None, None]
    start = torch.stack((start_x, start[..., 1]), -1)[:, :, None, None]
    return torch.addcmul(start, places, scale)


def within_boxes(places: Tensor, boxes: Tensor) -> Tensor:
    """Hold places inside their crop boxes, so that a box's edge is repeated rather than looked past.

    A box narrower than a pixel shows those that it lies in, whole.
    """
    start, length = boxes[:, :, None, None, :2], boxes[:, :, None, None, 2:]
    end, narrow, first = start + length - 1, length < 1, (start + NEAR).floor()
    low = torch.where(narrow, first, start)
    high = torch.where(narrow, torch.maximum(first, (end - NEAR).ceil()), end)
    return torch.minimum(torch.maximum(places, low), high)


def levels(shrink: float) -> int:
    """Return how many smoothed copies a shrink of up to this much needs."""
    return max(0, math.ceil(math.log2(shrink) - 1e-6))


def read(pictures: Tensor, places: Tensor, shrink: Tensor) -> Tensor:
    """Read each picture at its views' places, smoothed by as much as the view shrinks it.

    Args:
        pictures: [B, 3, H, W] uint8 or float in [0, 1].
        places: [B, K, S, S, 2] float (x, y) in picture pixels; those outside show the nearest edge.
        shrink: [B, K] float, picture pixels a view pixel; 1 or less needs no smoothing.

    Returns:
        [B, K, 3, S, S] float in [0, 1].
    """
    (batch, channels, height, width), (_, views, size) = pictures.shape, places.shape[:3]
    whole = pictures.float().div_(255) if pictures.dtype == torch.uint8 else pictures.float()
    copies = levels(max(height, width) / size)
    stack = torch.cat(list(_ever_smoother(whole, copies)), 1) if copies else whole  # [B, 3 (L + 1), H, W]
    grid = places.view(batch, views * size, size, 2)  # all views of a picture as one tall grid
    scale = constant((2 / width, 2 / height), grid.device)
    grid = torch.addcmul(scale / 2 - 1, grid, scale)  # from pixels to [-1, 1] between the outer edges
    found = grid_sample(stack, grid, mode="bilinear", padding_mode="border", align_corners=False)
    found = found.view(batch, copies + 1, channels, views, size, size).permute(
        0, 3, 1, 2, 4, 5
    )  # [B, K, L + 1, 3, ...]
    return _blend(found, shrink, copies)


def _ever_smoother(pictures: Tensor, levels: int) -> list[Tensor]:
    """Return the pictures and `levels` copies, the l-th with (4^l - 1) / 6 square pixels of variance more."""
    copies = [pictures]
    for level in range(levels):
        copies.append(_binomial(copies[-1], 2**level))
    return copies


def _binomial(x: Tensor, gap: int) -> Tensor:
    """Smooth [B, 3, H, W] by [1 2 1] / 4 in both directions, the taps `gap` pixels apart, edges repeated."""
    x = pad(x, (gap, gap, 0, 0), mode="replicate")
    x = (x[..., : -2 * gap] + x[..., 2 * gap :]).add_(x[..., gap:-gap], alpha=2).mul_(0.25)
    x = pad(x, (0, 0, gap, gap), mode="replicate")
    return (x[..., : -2 * gap, :] + x[..., 2 * gap :, :]).add_(x[..., gap:-gap, :], alpha=2).mul_(0.25)


def _blend(found: Tensor, shrink: Tensor, levels: int) -> Tensor:
    """Mix the two copies [B, K, L + 1, 3, S, S] between which each view's shrink [B, K] lies."""
    if not levels:
        return found[:, :, 0]
    view = (slice(None), slice(None), None, None, None)
    wanted = (shrink.clamp(min=1).square() - 1) / 6  # variance, square pixels
    mixed = found[:, :, 0]
    for level in range(levels):
        low, high = (4**level - 1) / 6, (4 ** (level + 1) - 1) / 6
        part = ((wanted - low) / (high - low)).clamp(0, 1)
        mixed = torch.lerp(mixed, found[:, :, level + 1], part[view])
    return mixed


def plain_view(pictures: Tensor, size: int) -> Tensor:
    """Return whole pictures at the view's size, as probes and retrieval see them.

    Args:
        pictures: [B, 3, H, W] uint8 or float in [0, 1]; of an oblong one the middle square is taken.
        size: side of the view in pixels.

    Returns:
        [B, 3, size, size] float in [0, 1], antialiased bilinear.
    """
    side = min(pictures.shape[-2:])
    top, left = (pictures.shape[-2] - side) // 2, (pictures.shape[-1] - side) // 2
    square = pictures[..., top : top + side, left : left + side]
    square = square.float().div_(255) if square.dtype == torch.uint8 else square.float()
    if side == size:
        return square
    return interpolate(square, (size, size), mode="bilinear", antialias=side > size, align_corners=False).clamp(0, 1)
