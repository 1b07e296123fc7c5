"""Rendering of views by batched tensor operations, on any device; CPUs use the faster `render_numba`."""

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.transforms import blur, color_jitter, geometry
from codial.transforms.random_params import ViewParams
from codial.transforms.warp import pixel_grid, warp_flow
from codial.utils.devices import to_device


@torch.no_grad()
def render(images: Tensor, params: ViewParams, config: ViewsConfig) -> Tensor:
    """Render views, [B, K, 3, S, S] float32 in [0, 1]; arguments as `sampler.render`."""
    on_device = params.to(images.device)
    downscale = (on_device.box[..., 2] * on_device.box[..., 3]).sqrt() / config.size
    views = geometry.resample(images, _grid(on_device, config), downscale)
    flat = views.reshape(-1, *views.shape[2:])  # [B * K, 3, S, S]
    if config.changes_color:
        flat = color_jitter.jitter(flat, on_device.factors.flatten(0, 1), params.order.flatten(0, 1))
    if config.blur:
        flat = _blur(flat, params.sigma.flatten(), config)
    return flat.view_as(views)


def _grid(params: ViewParams, config: ViewsConfig) -> Tensor:
    """Return the image coordinates of every pixel of the views, [B, K, S, S, 2] (x, y)."""
    rotations = tuple({"rot90": 1, "rot180": 2, "rot270": 3}.get(name, 0) for name in config.primary)
    replicate = config.warp_border == "replicate"
    grid = geometry.sampling_grid(params.box, params.flip, config.size, rotations, replicate)
    if "warp" in config.primary:
        warped_grid = _warped_grid(params, config).unsqueeze(1)
        for k in (k for k, name in enumerate(config.primary) if name == "warp"):
            box = params.box[:, k : k + 1]
            warped = geometry.view_to_image(warped_grid, box, params.flip)
            grid[:, k : k + 1] = geometry.clamp_to_boxes(warped, box) if replicate else warped
    return grid


def _warped_grid(params: ViewParams, config: ViewsConfig) -> Tensor:
    """Return the coordinates in the view at which each pixel of a warped view is sampled, [B, S, S, 2] (x, y)."""
    centers = pixel_grid(config.size, str(params.offsets.device))
    points = params.points if config.warp_placement == "random" else None
    return centers + warp_flow(params.offsets, config.size, points)


def _blur(views: Tensor, sigma: Tensor, config: ViewsConfig) -> Tensor:
    """Blur, in place, the views whose sigma [N], on the CPU, is positive."""
    rows = (sigma > 0).nonzero().squeeze(1)
    if len(rows):
        side = blur.kernel_size(config.size, config.blur_kernel)
        on_device = to_device(rows, views.device)
        views[on_device] = blur.gaussian_blur(views[on_device], to_device(sigma[rows], views.device), side)
    return views
