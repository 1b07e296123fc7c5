"""Views on a CPU: `kernels` do the work, a few pictures at a time, on as many threads as torch uses."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.views import blur, geometry
from codial.views.drawing import Drawn
from codial.views.warp import grid_basis, pixel_centres, spline_basis

_TURNS = {"turn0": 0, "turn90": 1, "turn180": 2, "turn270": 3, "warp": -1}
_SHARES = 4  # parts a thread: few enough to start quickly, enough to even out a thread that is held up


def render(pictures: Tensor, drawn: Drawn, config: ViewsConfig) -> Tensor:
    """Return the views that were drawn, [B, K, 3, S, S] float in [0, 1]; arguments as of `sampler.render`."""
    images = torch.empty(len(pictures), len(config.primary), 3, config.size, config.size)
    threads = torch.get_num_threads()
    step = max(1, -(-len(pictures) // (_SHARES * threads)))
    parts = [slice(start, start + step) for start in range(0, len(pictures), step)]

    def work(part: slice) -> None:
        _render(pictures[part], Drawn(*(field[part] for field in drawn)), config, images[part])

    if threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        list(_pool(threads).map(work, parts))  # a list, so that an error comes to light
    return images


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="views")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has none of its parent's threads


def _render(pictures: Tensor, drawn: Drawn, config: ViewsConfig, images: Tensor) -> None:
    from codial.views import kernels  # a second or so to load, which those who only look at results need not wait for

    byte = pictures.dtype == torch.uint8
    colours = config.recolours
    kernels.render(
        _array(pictures if byte else pictures.float()),
        np.float32(1 / 255 if byte else 1),
        _array(drawn.flip),
        _array(drawn.box),
        _array(drawn.factors),
        _array(drawn.order if colours else drawn.order[..., :0]),
        _array(drawn.sigma),
        _array(drawn.offsets),
        _bases(drawn, config),
        np.array([_TURNS[name] for name in config.primary]),
        config.warp_border == "replicate",
        blur.kernel_side(config.size, config.blur_kernel) if config.blur else 0,
        geometry.levels(max(pictures.shape[2:]) / config.size),
        images.numpy(),
    )


def _array(values: Tensor) -> np.ndarray:
    """Return it in the one layout that the kernels are compiled for."""
    return np.ascontiguousarray(values.numpy())


def _bases(drawn: Drawn, config: ViewsConfig) -> np.ndarray:
    """Return each control point's influence on each pixel, [B, 16, S * S]; one for all where the points are fixed."""
    if "warp" not in config.primary:
        return np.empty((1, 0, 0), np.float32)
    if config.warp_placement == "grid":
        return _grid(config.size)
    basis = spline_basis(drawn.points.double(), pixel_centres(config.size)).numpy()
    return np.ascontiguousarray(basis.swapaxes(1, 2), np.float32)


@lru_cache(maxsize=16)
def _grid(size: int) -> np.ndarray:
    return _array(grid_basis(size, "cpu").T)[None]
