"""Primary and auxiliary transforms as batched tensor maths, and the sampler that composes them."""

from codial.views.blur import gaussian_blur
from codial.views.colour import jitter
from codial.views.drawing import Drawn, draw
from codial.views.geometry import plain_view, rotate
from codial.views.sampler import Views, render, sample_views
from codial.views.warp import control_points, warp, warp_flow

__all__ = [
    "Drawn",
    "Views",
    "control_points",
    "draw",
    "gaussian_blur",
    "jitter",
    "plain_view",
    "render",
    "rotate",
    "sample_views",
    "warp",
    "warp_flow",
]
