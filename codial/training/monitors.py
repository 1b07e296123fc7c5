"""Monitors of a run: feature quality, collapse, and the confusion matrix of the pretext task."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, one_hot

from codial.config import Config
from codial.data import Dataset
from codial.methods import Batch, Method
from codial.models import Backbone
from codial.models.collapse import feature_std
from codial.transforms import plain_view, render, sample_params
from codial.utils.batch_generator import BatchGenerator
from codial.utils.devices import float64_on, to_device

MAX_CLASSES = 12  # of a confusion matrix in the history
_CONFUSION_IMAGES = 128  # images whose views a confusion matrix counts
_MIN_LABELED = 20  # labeled images that knn and probe need
_NEIGHBORS = 20  # of knn, and at most the mean number of training images of a class
_BATCH = 256  # images at a time
_MAX_DIMS = 65_536  # of the last maps of an image; larger ones are average-pooled, or `probe` would need gigabytes


@torch.no_grad()
def feature_monitors(backbone: Backbone, images: Dataset, count: int, bf16: bool = False) -> dict[str, float]:
    """Return feature_std, rankme and, with labels, knn of the last layer, and probe of the last maps, in percent.

    A fixed sample of the training images is split into four fifths for training and one for testing. These numbers are
    for watching a run, not for comparing methods. A single image, and NaN or infinite features, give no monitors, the
    latter with a warning; images of a single class give neither knn nor probe.

    Args:
        backbone: backbone to evaluate; left in evaluation mode.
        images: training images; those without a label are ignored by knn and probe.
        count: number of images to use.
        bf16: whether to compute features in bfloat16.
    """
    indices = monitored_indices(images, count)
    maps, vectors = monitored_features(backbone, images, indices, bf16)
    broken = int((~(maps.sum(1) + vectors.sum(1)).isfinite()).sum())
    if broken:
        warnings.warn(f"No monitors: {broken} of {len(vectors)} images have NaN or infinite features.", stacklevel=2)
    if broken or len(vectors) < 2:
        return {}
    monitors = {"feature_std": feature_std(vectors), "rankme": rankme(vectors)}
    labels = to_device(images.labels[indices], vectors.device)
    labeled = labels >= 0
    if labeled.sum() >= _MIN_LABELED and len(labels[labeled].unique()) > 1:
        maps, vectors, labels = maps[labeled], vectors[labeled], labels[labeled]
        is_test = torch.arange(len(labels), device=vectors.device) % 5 == 0
        per_class = int((~is_test).sum()) // len(labels.unique())  # more neighbors would be outvoted by other classes
        monitors["knn"] = knn_accuracy(vectors, labels, is_test, max(1, min(_NEIGHBORS, per_class)))
        monitors["probe"] = ridge_accuracy(maps, labels, is_test)
    return monitors


def monitored_indices(images: Dataset, count: int) -> Tensor:
    """Return the indices of a fixed sample of at most `count` images, [N] int64."""
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]


def monitored_features(backbone: Backbone, images: Dataset, indices: Tensor, bf16: bool) -> tuple[Tensor, Tensor]:
    """Return flattened last maps [N, M] and the last layer [N, F] of uncropped images, float32."""
    device = next(backbone.parameters()).device
    last_map, last = backbone.map_layers[-1], backbone.layers[-1]
    backbone.eval()
    maps, vectors = [], []
    for batch in indices.split(_BATCH):
        views = plain_view(to_device(images.batch(batch), device), backbone.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features = backbone.features(views, (last_map, last))
        maps.append(_pool(features[last_map]).flatten(1).float())
        vectors.append(features[last].float())
    return torch.cat(maps), torch.cat(vectors)


def _pool(maps: Tensor) -> Tensor:
    """Pool maps [B, C, h, w] of more than `_MAX_DIMS` dimensions to about that many."""
    if maps[0].numel() <= _MAX_DIMS:
        return maps
    return adaptive_avg_pool2d(maps, max(1, round((_MAX_DIMS / maps.shape[1]) ** 0.5)))


@torch.no_grad()
def pretext_confusion(
    method: Method, images: Dataset, config: Config, stage: int = 0, bf16: bool = False
) -> dict[str, Any] | None:
    """Return the confusion matrix of the pretext task on a fixed sample of images with fixed views.

    Args:
        method: method to evaluate; left in evaluation mode.
        images: training images.
        config: config of the run.
        stage: current stage of the method.
        bf16: whether to compute in bfloat16.

    Returns:
        `classes`, C names, and `counts`, C rows (true classes) of C numbers (predictions). None for a method without a
        classifier of fixed classes, or with more than `MAX_CLASSES`.
    """
    device = next(method.parameters()).device
    indices = monitored_indices(images, min(_CONFUSION_IMAGES, config.train.monitor_images))
    generator = torch.Generator().manual_seed(0)
    noise = torch.Generator(device).manual_seed(0)
    method.eval()
    matrices = []
    for part in indices.split(config.train.batch):
        params = sample_params(len(part), images.image_size, config.views, generator)
        views = render(to_device(images.batch(part), device), params, config.views)
        batch = Batch(views, to_device(images.labels[part], device), 0.0, BatchGenerator(noise, len(part)), part, stage)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            matrix = method.confusion(batch)
        if matrix is None or len(matrix.classes) > MAX_CLASSES:
            return None
        matrices.append(matrix)
    counts = torch.stack([matrix.counts for matrix in matrices]).sum(0)
    return {"classes": list(matrices[0].classes), "counts": counts.tolist()}


def rankme(features: Tensor) -> float:
    """Return the effective rank of features [N, F]: exp of the entropy of their normalized singular values.

    From RankMe (Garrido et al., 2023, equation 1): 1 if all features are collinear, at most min(N, F).
    """
    values = torch.linalg.svdvals(features.float())
    p = values / values.sum().clamp_min(1e-12) + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def knn_accuracy(features: Tensor, labels: Tensor, is_test: Tensor, k: int = _NEIGHBORS) -> float:
    """Return the accuracy in percent of k nearest neighbors by cosine similarity with equal votes.

    Args:
        features: [N, F] float.
        labels: [N] int64, all >= 0.
        is_test: [N] bool, True for test images; the others are training images.
        k: number of neighbors; ties are resolved by the sum of similarities.
    """
    unit = normalize(features.float(), dim=1)
    similarity, nearest = (unit[is_test] @ unit[~is_test].T).topk(min(k, int((~is_test).sum())))
    votes = one_hot(labels[~is_test][nearest], int(labels.max()) + 1).float()  # [Q, k, C]
    score = votes.sum(1) + 1e-3 * (votes * similarity.unsqueeze(-1)).sum(1)
    return _percent(score.argmax(1) == labels[is_test])


def ridge_accuracy(features: Tensor, labels: Tensor, is_test: Tensor, strength: float = 1e-2) -> float:
    """Return the accuracy in percent of a linear least-squares classifier, fitted in closed form.

    Args:
        features: [N, F] float; standardized here by the mean and standard deviation of the training images.
        labels: [N] int64, all >= 0.
        is_test: [N] bool, True for test images; the others are training images.
        strength: ridge penalty per training image.
    """
    dtype = float64_on(features.device)
    x = features.to(dtype)
    targets = one_hot(labels, int(labels.max()) + 1).to(dtype)
    std = x[~is_test].std(0)
    floor = 1e-6 * std.mean() + 1e-300  # relative, since activations of an untrained backbone may be 1e-6
    x = (x - x[~is_test].mean(0)) / (std + floor) / x.shape[1] ** 0.5
    train, center = x[~is_test], targets[~is_test].mean(0)
    gram = train @ train.T  # dual form: its size does not depend on F
    gram.diagonal().add_(strength * len(train) / x.shape[1] + 1e-6)
    scores = x[is_test] @ (train.T @ torch.linalg.solve(gram, targets[~is_test] - center)) + center
    return _percent(scores.argmax(1) == labels[is_test])


def _percent(correct: Tensor) -> float:
    return 100 * float(correct.float().mean())
