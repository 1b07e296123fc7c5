"""Images for loggers: sample views, and a map of features."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from codial.config import ViewsConfig
from codial.data import Dataset
from codial.models import Backbone
from codial.training.monitors import monitored_features, monitored_indices
from codial.transforms import plain_view, render, sample_params

_VIEW_IMAGES = 8  # rows of the sample views
_MAP_IMAGES = 400
_MAP_SIDE, _THUMBNAIL = 1024, 40  # pixels
_BATCH = 64  # images at a time


@torch.no_grad()
def view_grid(images: Dataset, config: ViewsConfig) -> Tensor:
    """Return sample views of some training images, [3, H, W] float32 in [0, 1]: a row of K views for each image.

    Views have a white margin of one pixel.

    Args:
        images: training images.
        config: distributions of the views; the same images and config give the same grid.
    """
    indices = monitored_indices(images, _VIEW_IMAGES)
    params = sample_params(len(indices), images.image_size, config, torch.Generator().manual_seed(0))
    views = pad(render(images.batch(indices), params, config).images, (1, 1, 1, 1), value=1.0)  # [B, K, 3, S, S]
    return views.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2).clamp(0, 1)


@torch.no_grad()
def feature_map(backbone: Backbone, images: Dataset, count: int, bf16: bool = False) -> Tensor:
    """Return thumbnails of training images at the first two principal components of their features.

    Features are those of the last layer, L2-normalized.

    Args:
        backbone: backbone to evaluate; left in evaluation mode.
        images: training images.
        count: number of images that the monitors use; the map shows at most 400 of them.
        bf16: whether to compute features in bfloat16.

    Returns:
        [3, 1024, 1024] float32 in [0, 1], white where there is no image.
    """
    indices = monitored_indices(images, min(count, _MAP_IMAGES))
    _, features = monitored_features(backbone, images, indices, bf16)
    corners = ((_MAP_SIDE - _THUMBNAIL) * _scale(principal_components(features.cpu()))).round().long().tolist()
    thumbnails = torch.cat([plain_view(images.batch(part), _THUMBNAIL) for part in indices.split(_BATCH)])
    canvas = torch.ones(3, _MAP_SIDE, _MAP_SIDE)
    for (x, y), thumbnail in zip(corners, thumbnails, strict=True):
        canvas[:, y : y + _THUMBNAIL, x : x + _THUMBNAIL] = thumbnail
    return canvas.clamp(0, 1)


def principal_components(features: Tensor) -> Tensor:
    """Return the coordinates of L2-normalized features [N, F] along their first two principal axes, [N, 2]."""
    unit = normalize(features.float(), dim=1)
    u, s, _ = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)
    return pad(u * s, (0, 2))[:, :2]


def _scale(points: Tensor) -> Tensor:
    """Return points [N, 2] shifted and scaled to [0, 1], with one scale for both axes."""
    low, high = points.min(0).values, points.max(0).values
    return (points - (low + high) / 2) / (high - low).max().clamp_min(1e-12) + 0.5
