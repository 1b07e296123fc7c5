"""Rendering of views on a CPU: compiled kernels, a few images at a time, on as many threads as torch uses."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.transforms import blur, geometry
from codial.transforms.random_params import ViewParams
from codial.transforms.warp import grid_basis, pixel_centers, spline_basis

_ROTATIONS = {"rot0": 0, "rot90": 1, "rot180": 2, "rot270": 3, "warp": -1}
_CHUNKS = 4  # per thread: few enough to start quickly, enough to balance a thread that is slow


def render(images: Tensor, params: ViewParams, config: ViewsConfig) -> Tensor:
    """Render views, [B, K, 3, S, S] float32 in [0, 1]; arguments as `sampler.render`."""
    views = torch.empty(len(images), len(config.primary), 3, config.size, config.size)
    threads = torch.get_num_threads()
    step = max(1, -(-len(images) // (_CHUNKS * threads)))
    chunks = [slice(start, start + step) for start in range(0, len(images), step)]

    def work(chunk: slice) -> None:
        _render(images[chunk], ViewParams(*(field[chunk] for field in params)), config, views[chunk])

    if threads == 1 or len(chunks) == 1:
        for chunk in chunks:
            work(chunk)
    else:
        list(_pool(threads).map(work, chunks))  # a list, so that exceptions are raised
    return views


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="views")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads


def _render(images: Tensor, params: ViewParams, config: ViewsConfig, views: Tensor) -> None:
    from codial.transforms import numba_kernels  # Numba takes about a second to import

    byte = images.dtype == torch.uint8
    numba_kernels.render(
        _array(images if byte else images.float()),
        np.float32(1 / 255 if byte else 1),
        _array(params.flip),
        _array(params.box),
        _array(params.factors),
        _array(params.order if config.changes_color else params.order[..., :0]),
        _array(params.sigma),
        _array(params.offsets),
        _bases(params, config),
        np.array([_ROTATIONS[name] for name in config.primary]),
        config.warp_border == "replicate",
        blur.kernel_size(config.size, config.blur_kernel) if config.blur else 0,
        geometry.pyramid_levels(max(images.shape[2:]) / config.size),
        views.numpy(),
    )


def _array(values: Tensor) -> np.ndarray:
    """Return an array in C order, the layout for which the kernels are compiled."""
    return np.ascontiguousarray(values.numpy())


def _bases(params: ViewParams, config: ViewsConfig) -> np.ndarray:
    """Return the spline weights of the control points at every pixel, [B, 16, S * S], or [1, 16, S * S] on a grid."""
    if "warp" not in config.primary:
        return np.empty((1, 0, 0), np.float32)
    if config.warp_placement == "grid":
        return _grid(config.size)
    basis = spline_basis(params.points.double(), pixel_centers(config.size)).numpy()
    return np.ascontiguousarray(basis.swapaxes(1, 2), np.float32)


@lru_cache(maxsize=16)
def _grid(size: int) -> np.ndarray:
    return _array(grid_basis(size, "cpu").T)[None]
