"""What is drawn at random for each picture and view, before any pixel is touched."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.views.colour import SATURATION
from codial.views.warp import POINTS, control_points

_CROP_TRIES = 10  # as torchvision's RandomResizedCrop, before it falls back to the middle


class Drawn(NamedTuple):
    """Everything that was drawn for a batch of B pictures with K views each."""

    flip: Tensor  # [B] bool: mirrored left and right, shared by the picture's views
    box: Tensor  # [B, K, 4] float: crop (left, top, width, height) in picture pixels
    factors: Tensor  # [B, K, 4] float: brightness, contrast, saturation factors and hue shift in turns
    order: Tensor  # [B, K, 4] int64: which of the four comes first, second, third, last
    sigma: Tensor  # [B, K] float: blur in view pixels, 0 for none
    offsets: Tensor  # [B, 16, 2] float: warp displacements (dx, dy) in view pixels
    points: Tensor  # [B, 16, 2] float: warp control points (x, y) in view pixels

    def to(self, device: torch.device | str) -> "Drawn":
        """Return the same on another device; a GPU gets it without a wait when it lies in pinned memory."""
        return Drawn(*(part.to(device, non_blocking=True) for part in self))


def draw(count: int, picture: tuple[int, int], config: ViewsConfig, generator: torch.Generator) -> Drawn:
    """Draw the parameters of K views for each of `count` pictures of (height, width) pixels, on the CPU."""
    views = len(config.primary)
    per_view = 2 * _CROP_TRIES + 4 + 4 + 2  # crop tries, factors, order, blur
    numbers = torch.rand(count, 1 + 4 * POINTS + views * per_view, generator=generator)
    flip = numbers[:, 0] < config.flip
    warp = numbers[:, 1 : 1 + 4 * POINTS].view(count, 4, POINTS)
    rest = numbers[:, 1 + 4 * POINTS :].view(count, views, per_view)
    if config.shared_crop:
        rest = rest[:, :1].expand(-1, views, -1).contiguous()
    tries, factors, order, blurred = rest.split((2 * _CROP_TRIES, 4, 4, 2), -1)
    offsets = (2 * warp[:, :2].mT - 1) * config.warp_offset * config.size
    return Drawn(
        flip=flip,
        box=_boxes(tries, picture, config),
        factors=_factors(factors, config),
        order=order.argsort(-1),
        sigma=_sigma(blurred, config),
        offsets=offsets.contiguous(),
        points=_points(warp[:, 2:].mT, config),
    )


def _boxes(tries: Tensor, picture: tuple[int, int], config: ViewsConfig) -> Tensor:
    """Turn [B, K, 20] uniform numbers into crop boxes, by torchvision's rule but in whole and part pixels.

    Nine tries draw area and aspect; the last pair of numbers places the first box that fits.
    """
    height, width = picture
    area_part, aspect_part = tries[..., 2:].view(*tries.shape[:-1], _CROP_TRIES - 1, 2).unbind(-1)  # [B, K, 9]
    low, high = config.crop_area
    area = (low + (high - low) * area_part) * height * width
    log_low, log_high = (math.log(a) for a in config.crop_aspect)
    # By NumPy: for these few numbers torch would wake its threads, which then busily wait on cores that are needed.
    aspect = np.exp((log_low + (log_high - log_low) * aspect_part).numpy())
    sides = torch.from_numpy(np.sqrt(np.stack((area.numpy() * aspect, area.numpy() / aspect), -1)))  # width, height
    limit = torch.tensor((width, height), dtype=sides.dtype)
    fits = (sides <= limit).all(-1)
    first = fits.to(torch.uint8).argmax(-1)[..., None, None].expand(*fits.shape[:2], 1, 2)
    chosen = sides.gather(2, first).squeeze(2)  # [B, K, 2]
    middle = _middle_box(width, height, config.crop_aspect)
    chosen = torch.where(fits.any(-1, keepdim=True), chosen, middle)
    place = torch.where(fits.any(-1, keepdim=True), tries[..., :2], 0.5)
    return torch.cat(((limit - chosen) * place, chosen), -1)


def _middle_box(width: int, height: int, aspect: tuple[float, float]) -> Tensor:
    """Return the largest (width, height) in the picture whose aspect is allowed."""
    wanted = min(max(width / height, aspect[0]), aspect[1])
    return torch.tensor((min(width, height * wanted), min(height, width / wanted)), dtype=torch.float32)


def _factors(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Turn [B, K, 4] uniform numbers into colour factors and hue shifts; saturation 0 takes a view's colours away.

    Which views lose theirs is read off the saturation's number, whose rest is spread out again.
    """
    reach = torch.tensor((config.brightness, config.contrast, config.saturation, config.hue))
    rest = torch.tensor((1.0, 1.0, 1.0, 0.0))
    if not config.grey:
        return rest + (2 * uniform - 1) * reach
    uniform = uniform.clone()
    saturation = uniform[..., SATURATION].sub_(config.grey).div_(1 - config.grey)
    factors = rest + (2 * uniform - 1) * reach
    factors[..., SATURATION].masked_fill_(saturation < 0, 0.0)
    return factors


def _sigma(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Turn [B, K, 2] uniform numbers into blur widths, 0 where a view is not blurred."""
    low, high = config.blur_sigma
    return torch.where(uniform[..., 0] < config.blur, low + (high - low) * uniform[..., 1], 0.0)


def _points(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Return the control points [B, 16, 2]: the grid, or [B, 16, 2] uniform numbers spread over the view."""
    if config.warp_placement == "random":
        return uniform * (config.size - 1)
    return control_points(config.size).float().expand(len(uniform), POINTS, 2)
