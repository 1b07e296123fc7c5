"""Draw the K views of each picture: what is drawn, and how it is rendered (section 3.1)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.errors import CodialError
from codial.views import blur, colour, geometry
from codial.views.warp import POINTS, control_points, pixel_centres, warp_flow

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
        """Return the same on another device."""
        return Drawn(*(part.to(device, non_blocking=True) for part in self))


class Views(NamedTuple):
    """The views of a batch of pictures."""

    images: Tensor  # [B, K, 3, S, S] float in [0, 1]
    labels: Tensor  # [B, K] int64: index of the view's primary transform in `config.primary`
    drawn: Drawn


def sample_views(pictures: Tensor, config: ViewsConfig, generator: torch.Generator) -> Views:
    """Draw and render the views of a batch.

    Randomness is drawn on the CPU, picture after picture, so that the same seed gives the same views however the
    pictures are split into batches and wherever they are rendered.

    Args:
        pictures: [B, 3, H, W] uint8, or float in [0, 1].
        config: what is drawn; `config.primary` fixes K and the labels.
        generator: a CPU generator.

    Returns:
        Views with images [B, K, 3, S, S] on the pictures' device.

    Raises:
        CodialError: the pictures have another shape or type.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise CodialError(f"Pictures are {list(pictures.shape)}; expected [B, 3, H, W].")
    if pictures.dtype != torch.uint8 and not pictures.is_floating_point():
        raise CodialError(f"Pictures are {pictures.dtype}; expected uint8, or floats in [0, 1].")
    drawn = draw(len(pictures), (pictures.shape[2], pictures.shape[3]), config, generator)
    return render(pictures, drawn, config)


def draw(count: int, picture: tuple[int, int], config: ViewsConfig, generator: torch.Generator) -> Drawn:
    """Draw the parameters of K views for each of `count` pictures of (height, width) pixels, on the CPU."""
    views = len(config.primary)
    per_view = 2 * _CROP_TRIES + 4 + 4 + 2  # crop tries, factors, order, blur
    numbers = torch.rand(count, 1 + 4 * POINTS + views * per_view, generator=generator)
    flip = numbers[:, 0] < config.flip
    warp = numbers[:, 1 : 1 + 4 * POINTS].view(count, 4, POINTS)
    rest = numbers[:, 1 + 4 * POINTS :].view(count, views, per_view)
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
    aspect = torch.exp(log_low + (log_high - log_low) * aspect_part)
    sides = torch.stack(((area * aspect).sqrt(), (area / aspect).sqrt()), -1)  # [B, K, 9, 2] width, height
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
    """Turn [B, K, 4] uniform numbers into colour factors and hue shifts."""
    reach = torch.tensor((config.brightness, config.contrast, config.saturation, config.hue))
    rest = torch.tensor((1.0, 1.0, 1.0, 0.0))
    return rest + (2 * uniform - 1) * reach


def _sigma(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Turn [B, K, 2] uniform numbers into blur widths, 0 where a view is not blurred."""
    low, high = config.blur_sigma
    return torch.where(uniform[..., 0] < config.blur, low + (high - low) * uniform[..., 1], 0.0)


def _points(uniform: Tensor, config: ViewsConfig) -> Tensor:
    """Return the control points [B, 16, 2]: the grid, or [B, 16, 2] uniform numbers spread over the view."""
    if config.warp_placement == "random":
        return uniform * (config.size - 1)
    return control_points(config.size).float().expand(len(uniform), POINTS, 2)


@torch.no_grad()
def render(pictures: Tensor, drawn: Drawn, config: ViewsConfig) -> Views:
    """Make the views that were drawn; the same drawn parameters give the same views, up to rounding, on any device.

    Args:
        pictures: [B, 3, H, W] uint8, or float in [0, 1].
        drawn: as `draw` returned it, on the CPU.
        config: what it was drawn with.

    Returns:
        Views with images [B, K, 3, S, S] on the pictures' device.
    """
    count, views, size = len(pictures), len(config.primary), config.size
    labels = torch.arange(views, device=pictures.device).expand(count, -1)
    if pictures.device.type != "cpu":
        return Views(_render(pictures, drawn, config), labels, drawn)
    images = torch.empty(count, views, 3, size, size)
    step = max(1, _CACHE // (views * 3 * size * size * 4))
    for start in range(0, count, step):
        part = slice(start, start + step)
        images[part] = _render(pictures[part], Drawn(*(field[part] for field in drawn)), config)
    return Views(images, labels, drawn)


_CACHE = 3_000_000  # bytes of views made at a time on a CPU, so that they stay in its cache between operations


def _render(pictures: Tensor, drawn: Drawn, config: ViewsConfig) -> Tensor:
    here = drawn.to(pictures.device)
    shrink = (here.box[..., 2] * here.box[..., 3]).sqrt() / config.size
    images = geometry.read(pictures, _places(here, config), shrink)
    flat = images.reshape(-1, *images.shape[2:])  # [B * K, 3, S, S]
    if config.brightness or config.contrast or config.saturation or config.hue:
        flat = colour.jitter(flat, here.factors.flatten(0, 1), drawn.order.flatten(0, 1))
    if config.blur:
        flat = _blur(flat, drawn.sigma.flatten(), config)
    return flat.view_as(images)


def _places(drawn: Drawn, config: ViewsConfig) -> Tensor:
    """Return where in its picture each view's pixels look, [B, K, S, S, 2] (x, y)."""
    turns = tuple({"turn90": 1, "turn180": 2, "turn270": 3}.get(name, 0) for name in config.primary)
    inside = config.warp_border == "replicate"
    places = geometry.sampling_places(drawn.box, drawn.flip, config.size, turns, inside)
    if "warp" in config.primary:
        k = config.primary.index("warp")
        box = drawn.box[:, k : k + 1]
        warped = geometry.to_picture(_warped_centres(drawn, config).unsqueeze(1), box, drawn.flip)
        places[:, k : k + 1] = geometry.within_boxes(warped, box) if inside else warped
    return places


def _warped_centres(drawn: Drawn, config: ViewsConfig) -> Tensor:
    """Return where each pixel of a warped view looks within the view, [B, S, S, 2] (x, y)."""
    centres = pixel_centres(config.size).float().view(1, config.size, config.size, 2).to(drawn.offsets.device)
    points = drawn.points if config.warp_placement == "random" else None
    return centres + warp_flow(drawn.offsets, config.size, points)


def _blur(views: Tensor, sigma: Tensor, config: ViewsConfig) -> Tensor:
    """Blur the views whose sigma [N], on the CPU, is above 0."""
    rows = (sigma > 0).nonzero().squeeze(1)
    if len(rows):
        side = blur.kernel_side(config.size, config.blur_kernel)
        here = rows.to(views.device, non_blocking=True)
        views[here] = blur.gaussian_blur(views[here], sigma[rows].to(views.device, non_blocking=True), side)
    return views
