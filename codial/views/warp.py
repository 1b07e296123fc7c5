"""The random warp: a thin-plate spline through a few displaced control points (equation 2).

The output at control point c shows the input at c + offset; between the points the displacement is the smoothest one, a
thin-plate spline with kernel r^2 log r and an affine part, exact at the points (regularisation 0). It is linear in
the offsets, so on a fixed grid it is one product with a matrix that depends on the size alone.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from codial.errors import CodialError

GRID = 4  # control points a side
POINTS = GRID * GRID


def control_points(size: int) -> Tensor:
    """Return the fixed 4 x 4 grid, [16, 2] float64 (x, y) in pixels, corner pixels included, row by row."""
    ticks = torch.linspace(0, size - 1, GRID, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack((x, y), -1).reshape(POINTS, 2)


def pixel_centres(size: int) -> Tensor:
    """Return every pixel's position, [size * size, 2] float64 (x, y), row by row."""
    ticks = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def spline_basis(points: Tensor, at: Tensor) -> Tensor:
    """Return the matrix that turns displacements of control points into displacements anywhere.

    Args:
        points: control points, [..., N, 2] float64 in pixels, not all on a line.
        at: where the spline is wanted, [M, 2] float64 in pixels.

    Returns:
        [..., M, N] float64: row m holds each control point's influence at `at[m]`; rows sum to 1.
    """
    # By NumPy, as all that happens on background threads: torch would give each of them OpenMP threads of its own.
    known, asked = points.cpu().numpy(), at.cpu().numpy()
    count, lead = known.shape[-2], known.shape[:-2]
    affine = np.concatenate((np.ones((*lead, count, 1)), known), -1)  # [..., N, 3]
    system = np.zeros((*lead, count + 3, count + 3))
    system[..., :count, :count] = _kernel(known, known)
    system[..., :count, count:] = affine
    system[..., count:, :count] = affine.swapaxes(-1, -2)
    weights = np.linalg.solve(system, np.broadcast_to(np.eye(count + 3, count), (*lead, count + 3, count)))
    far = np.concatenate((np.ones((len(asked), 1)), asked), 1)  # [M, 3]
    return torch.from_numpy(_kernel(asked, known) @ weights[..., :count, :] + far @ weights[..., count:, :])


def _kernel(to: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return r^2 log r, which tends to 0 at 0, of the distances between [..., M, 2] and [..., N, 2]: [..., M, N]."""
    square = ((to[..., :, None, :] - known[..., None, :, :]) ** 2).sum(-1)
    return square * np.log(np.maximum(square, 1e-300)) / 2


@lru_cache(maxsize=16)
def pixel_grid(size: int, device: str) -> Tensor:
    """Return every pixel's position, [1, size, size, 2] float32 (x, y)."""
    return torch.from_numpy(pixel_centres(size).numpy().astype(np.float32)).to(device).view(1, size, size, 2)


@lru_cache(maxsize=16)
def grid_basis(size: int, device: str) -> Tensor:
    """Return the basis of the fixed grid at every pixel of a picture, [size * size, 16] float32."""
    basis = spline_basis(control_points(size), pixel_centres(size))
    return torch.from_numpy(basis.numpy().astype(np.float32)).to(device)


def warp_flow(offsets: Tensor, size: int, points: Tensor | None = None) -> Tensor:
    """Return how far each output pixel looks away from itself.

    Args:
        offsets: displacements of the control points, [B, 16, 2] float (dx, dy) in pixels.
        size: side of the picture in pixels.
        points: where the control points are, [B, 16, 2] (x, y) in pixels; the 4 x 4 grid when left out.

    Returns:
        [B, size, size, 2] float (dx, dy) in pixels.

    Raises:
        CodialError: the offsets or the control points have another shape.
    """
    if offsets.ndim != 3 or tuple(offsets.shape[1:]) != (POINTS, 2):
        raise CodialError(f"Warp offsets are {list(offsets.shape)}; expected [B, {POINTS}, 2] pixels (dx, dy).")
    if points is not None and points.shape != offsets.shape:
        raise CodialError(f"Control points are {list(points.shape)}; expected {list(offsets.shape)}, as the offsets.")
    if points is None:
        basis = grid_basis(size, str(offsets.device))
        flow = torch.einsum("mn,bnd->bmd", basis, offsets.float())
    else:
        basis = spline_basis(points.double().cpu(), pixel_centres(size)).float().to(offsets.device)
        flow = basis @ offsets.float()
    return flow.view(len(offsets), size, size, 2)  # [B, S * S, 2] -> [B, S, S, 2]


def warp(images: Tensor, offsets: Tensor, points: Tensor | None = None) -> Tensor:
    """Warp square pictures by displaced control points (equation 2), bilinear, edges repeated.

    Args:
        images: [B, 3, S, S] float.
        offsets: [B, 16, 2] float (dx, dy) in pixels; zero leaves a picture as it is.
        points: [B, 16, 2] control points (x, y) in pixels; the 4 x 4 grid when left out.

    Returns:
        [B, 3, S, S] float.

    Raises:
        CodialError: the pictures are not square or not floats, or the offsets have another shape.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise CodialError(f"Pictures are {list(images.shape)}; a warp takes square ones, [B, 3, S, S].")
    if not images.is_floating_point():
        raise CodialError(f"Pictures are {images.dtype}; a warp takes floats (pictures.float() / 255).")
    size = images.shape[-1]
    flow = warp_flow(offsets, size, points)
    if len(images) != len(flow):
        raise CodialError(f"There are {len(images)} pictures, but {len(flow)} sets of warp offsets.")
    looked_at = pixel_grid(size, str(images.device)) + flow
    grid = (looked_at + 0.5) * (2 / size) - 1
    return grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False)
