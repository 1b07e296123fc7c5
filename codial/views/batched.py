"""Views as tensor maths on whole batches: for every device but the CPU, which has `fused`."""

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.devices import to_device
from codial.views import blur, colour, geometry
from codial.views.drawing import Drawn
from codial.views.warp import pixel_grid, warp_flow


@torch.no_grad()
def render(pictures: Tensor, drawn: Drawn, config: ViewsConfig) -> Tensor:
    """Return the views that were drawn, [B, K, 3, S, S] float in [0, 1]; arguments as of `sampler.render`."""
    here = drawn.to(pictures.device)
    shrink = (here.box[..., 2] * here.box[..., 3]).sqrt() / config.size
    images = geometry.read(pictures, _places(here, config), shrink)
    flat = images.reshape(-1, *images.shape[2:])  # [B * K, 3, S, S]
    if config.recolours:
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
    centres = pixel_grid(config.size, str(drawn.offsets.device))
    points = drawn.points if config.warp_placement == "random" else None
    return centres + warp_flow(drawn.offsets, config.size, points)


def _blur(views: Tensor, sigma: Tensor, config: ViewsConfig) -> Tensor:
    """Blur the views whose sigma [N], on the CPU, is above 0."""
    rows = (sigma > 0).nonzero().squeeze(1)
    if len(rows):
        side = blur.kernel_side(config.size, config.blur_kernel)
        here = to_device(rows, views.device)
        views[here] = blur.gaussian_blur(views[here], to_device(sigma[rows], views.device), side)
    return views
