"""Random parameters of views, sampled before any pixel is touched."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.transforms.color_jitter import SATURATION
from codial.transforms.warp import POINTS, control_points

_CROP_TRIES = 10  # as torchvision's RandomResizedCrop; if none fits, the crop is centered


class ViewParams(NamedTuple):
    """Parameters of the views of B images, K views each."""

    flip: Tensor  # [B] bool: horizontal flip, the same for all views of an image
    box: Tensor  # [B, K, 4] float: crop box (left, top, width, height) in image pixels
    factors: Tensor  # [B, K, 4] float: factors of brightness, contrast, saturation; hue shift, fraction of the circle
    order: Tensor  # [B, K, 4] int64: indices of the four color operations in the order of application
    sigma: Tensor  # [B, K] float: standard deviation of the blur in view pixels, 0 for none
    offsets: Tensor  # [B, 16, 2] float: displacements (dx, dy) of control points in view pixels, the same for all warps
    points: Tensor  # [B, 16, 2] float: control points (x, y) of the warp in view pixels

    def to(self, device: torch.device | str) -> "ViewParams":
        """Copy to a device; asynchronous for a GPU if the parameters are in pinned memory."""
        return ViewParams(*(part.to(device, non_blocking=True) for part in self))


def sample_params(count: int, image: tuple[int, int], config: ViewsConfig, generator: torch.Generator) -> ViewParams:
    """Sample the parameters of K views for each of several images.

    Numbers are generated image by image, so that they do not depend on the batch size.

    Args:
        count: B, number of images.
        image: (height, width) of the images in pixels.
        config: distributions of the parameters; `config.primary` has K entries.
        generator: a CPU generator.

    Returns:
        Parameters on the CPU.
    """
    views = len(config.primary)
    per_view = 2 * _CROP_TRIES + 4 + 4 + 2  # crop, factors, order, blur
    uniform = torch.rand(count, 1 + 4 * POINTS + views * per_view, generator=generator)
    flip = uniform[:, 0] < config.flip
    warp = uniform[:, 1 : 1 + 4 * POINTS].view(count, 4, POINTS)
    rest = uniform[:, 1 + 4 * POINTS :].view(count, views, per_view)
    if config.shared_crop:
        rest = rest[:, :1].expand(-1, views, -1).contiguous()
    crop, factors, order, blur = rest.split((2 * _CROP_TRIES, 4, 4, 2), -1)
    offsets = (2 * warp[:, :2].mT - 1) * config.warp_offset * config.size
    return ViewParams(
        flip=flip,
        box=_boxes(crop, image, config),
        factors=_factors(factors, config),
        order=order.argsort(-1),
        sigma=_sigma(blur, config),
        offsets=offsets.contiguous(),
        points=_points(warp[:, 2:].mT, config),
    )


def _boxes(uniform: Tensor, image: tuple[int, int], config: ViewsConfig) -> Tensor:
    """Convert [B, K, 20] uniform numbers to crop boxes, by torchvision's rule but without rounding to pixels.

    The first pair of numbers is the position of the box. The others are area and aspect of nine boxes, of which the
    first that fits into the image is taken.
    """
    height, width = image
    area, aspect = uniform[..., 2:].view(*uniform.shape[:-1], _CROP_TRIES - 1, 2).unbind(-1)  # [B, K, 9]
    low, high = config.crop_area
    area = (low + (high - low) * area) * height * width
    log_low, log_high = (math.log(a) for a in config.crop_aspect)
    # By NumPy: for so few numbers, torch would wake threads that then spin on cores which are needed elsewhere.
    ratio = np.exp((log_low + (log_high - log_low) * aspect).numpy())
    sides = torch.from_numpy(np.sqrt(np.stack((area.numpy() * ratio, area.numpy() / ratio), -1)))  # width, height
    limit = torch.tensor((width, height), dtype=sides.dtype)
    fits = (sides <= limit).all(-1)
    first = fits.to(torch.uint8).argmax(-1)[..., None, None].expand(*fits.shape[:2], 1, 2)
    any_fits = fits.any(-1, keepdim=True)
    sides = torch.where(any_fits, sides.gather(2, first).squeeze(2), _largest_box(width, height, config.crop_aspect))
    position = torch.where(any_fits, uniform[..., :2], 0.5)
    return torch.cat(((limit - sides) * position, sides), -1)


def _largest_box(width: int, height: int, aspect: tuple[float, float]) -> Tensor:
    """Return (width, height) of the largest box in the image with an allowed aspect."""
    ratio = min(max(width / height, aspect[0]), aspect[1])
    return torch.tensor((min(width, height * ratio), min(height, width / ratio)), dtype=torch.float32)


def _factors(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Convert [B, K, 4] uniform numbers to color factors and hue shifts; grayscale views have saturation 0.

    The number of the saturation also decides which views are grayscale; for the others it is rescaled to [0, 1).
    """
    reach = torch.tensor((config.brightness, config.contrast, config.saturation, config.hue))
    neutral = torch.tensor((1.0, 1.0, 1.0, 0.0))
    if not config.grayscale:
        return neutral + (2 * uniform - 1) * reach
    uniform = uniform.clone()
    saturation = uniform[..., SATURATION].sub_(config.grayscale).div_(1 - config.grayscale)
    factors = neutral + (2 * uniform - 1) * reach
    factors[..., SATURATION].masked_fill_(saturation < 0, 0.0)
    return factors


def _sigma(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Convert [B, K, 2] uniform numbers to standard deviations of the blur, 0 for views without blur."""
    low, high = config.blur_sigma
    return torch.where(uniform[..., 0] < config.blur, low + (high - low) * uniform[..., 1], 0.0)


def _points(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Return the control points [B, 16, 2]: the grid, or [B, 16, 2] uniform numbers scaled to the view."""
    if config.warp_placement == "random":
        return uniform * (config.size - 1)
    return control_points(config.size).float().expand(len(uniform), POINTS, 2)
