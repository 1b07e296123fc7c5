"""Primary and auxiliary transforms of image batches, and the sampler that composes them into views."""

from codial.transforms.blur import gaussian_blur
from codial.transforms.color_jitter import jitter
from codial.transforms.geometry import plain_view, rotate
from codial.transforms.random_params import ViewParams, sample_params
from codial.transforms.sampler import Views, render, sample_views
from codial.transforms.warp import control_points, warp, warp_flow

__all__ = [
    "ViewParams",
    "Views",
    "control_points",
    "gaussian_blur",
    "jitter",
    "plain_view",
    "render",
    "rotate",
    "sample_params",
    "sample_views",
    "warp",
    "warp_flow",
]
