"""The random warp: a thin-plate spline through a few displaced control points (equation 2).

The output at control point c is the input at c + offset. Between the points the displacement is a thin-plate spline
with kernel r^2 log r and an affine part, exact at the points (no regularization). It is linear in the offsets, so on a
fixed grid it is a product with a matrix that only depends on the size.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from codial.errors import CodialError

GRID = 4  # control points per side
POINTS = GRID * GRID


def control_points(size: int) -> Tensor:
    """Return the 4 x 4 grid of control points, [16, 2] float64 (x, y) in pixels, row by row, corners included."""
    ticks = torch.linspace(0, size - 1, GRID, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack((x, y), -1).reshape(POINTS, 2)


def pixel_centers(size: int) -> Tensor:
    """Return the position of every pixel, [size * size, 2] float64 (x, y), row by row."""
    ticks = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def spline_basis(points: Tensor, at: Tensor) -> Tensor:
    """Return the matrix that maps displacements of control points to displacements at other points.

    Args:
        points: control points, [..., N, 2] float64 in pixels, not collinear.
        at: points at which to evaluate the spline, [M, 2] float64 in pixels.

    Returns:
        [..., M, N] float64: the weight of each control point at each evaluation point; rows sum to 1.
    """
    # By NumPy, as everything on background threads: torch would start OpenMP threads for each of them.
    control, target = points.cpu().numpy(), at.cpu().numpy()
    count, lead = control.shape[-2], control.shape[:-2]
    affine = np.concatenate((np.ones((*lead, count, 1)), control), -1)  # [..., N, 3]
    system = np.zeros((*lead, count + 3, count + 3))
    system[..., :count, :count] = _kernel(control, control)
    system[..., :count, count:] = affine
    system[..., count:, :count] = affine.swapaxes(-1, -2)
    weights = np.linalg.solve(system, np.broadcast_to(np.eye(count + 3, count), (*lead, count + 3, count)))
    target_affine = np.concatenate((np.ones((len(target), 1)), target), 1)  # [M, 3]
    basis = _kernel(target, control) @ weights[..., :count, :] + target_affine @ weights[..., count:, :]
    return torch.from_numpy(basis)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return r^2 log r (0 at r = 0) of the distances between points [..., M, 2] and [..., N, 2]: [..., M, N]."""
    square = ((a[..., :, None, :] - b[..., None, :, :]) ** 2).sum(-1)
    return square * np.log(np.maximum(square, 1e-300)) / 2


@lru_cache(maxsize=16)
def pixel_grid(size: int, device: str) -> Tensor:
    """Return the position of every pixel, [1, size, size, 2] float32 (x, y)."""
    return torch.from_numpy(pixel_centers(size).numpy().astype(np.float32)).to(device).view(1, size, size, 2)


@lru_cache(maxsize=16)
def grid_basis(size: int, device: str) -> Tensor:
    """Return the spline basis of the control point grid at every pixel, [size * size, 16] float32."""
    basis = spline_basis(control_points(size), pixel_centers(size))
    return torch.from_numpy(basis.numpy().astype(np.float32)).to(device)


def warp_flow(offsets: Tensor, size: int, points: Tensor | None = None) -> Tensor:
    """Interpolate displacements of control points to every pixel.

    Args:
        offsets: displacements of the control points, [B, 16, 2] float (dx, dy) in pixels.
        size: side of the image in pixels.
        points: control points, [B, 16, 2] (x, y) in pixels; the 4 x 4 grid by default.

    Returns:
        [B, size, size, 2] float (dx, dy) in pixels: from each output pixel to where the input is sampled.

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
        basis = spline_basis(points.double().cpu(), pixel_centers(size)).float().to(offsets.device)
        flow = basis @ offsets.float()
    return flow.view(len(offsets), size, size, 2)  # [B, S * S, 2] -> [B, S, S, 2]


def warp(images: Tensor, offsets: Tensor, points: Tensor | None = None) -> Tensor:
    """Warp square images by displaced control points (equation 2), bilinear, with replicated edges.

    Args:
        images: [B, 3, S, S] float.
        offsets: displacements of the control points, [B, 16, 2] float (dx, dy) in pixels; 0 changes nothing.
        points: control points, [B, 16, 2] (x, y) in pixels; the 4 x 4 grid by default.

    Returns:
        [B, 3, S, S] float.

    Raises:
        CodialError: the images are not square or not floats, or offsets or control points have another shape.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise CodialError(f"Images are {list(images.shape)}; expected square ones, [B, 3, S, S].")
    if not images.is_floating_point():
        raise CodialError(f"Images are {images.dtype}; expected floats. Convert them by images.float() / 255.")
    size = images.shape[-1]
    flow = warp_flow(offsets, size, points)
    if len(images) != len(flow):
        raise CodialError(f"There are {len(images)} images but {len(flow)} sets of warp offsets; expected as many.")
    coordinates = pixel_grid(size, str(images.device)) + flow
    grid = (coordinates + 0.5) * (2 / size) - 1
    return grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False)
