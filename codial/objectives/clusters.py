"""Clusters of features: PCA with whitening, k-means, and how two clusterings agree."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_CHUNK = 4096  # pictures at a time


def whiten(features: Tensor, dims: int) -> Tensor:
    """Return the largest principal components, each of unit variance.

    Args:
        features: [N, F] float.
        dims: components to keep.

    Returns:
        [N, D] float32, the largest first; D is `dims`, or the features' rank where that is less.
    """
    centred = features - features.mean(0)
    covariance = sum((part.double().T @ part.double() for part in centred.split(_CHUNK)), start=torch.tensor(0.0))
    values, vectors = (x.flip(-1)[..., :dims] for x in torch.linalg.eigh(covariance / len(features)))
    # In float32 an axis with less than 1e-5 of the largest deviation is rounding, which whitening would blow up.
    kept = values > 1e-10 * values[0].clamp_min(1e-30)
    return centred @ (vectors[:, kept] * values[kept].rsqrt()).float()


def kmeans(points: Tensor, clusters: int, steps: int, generator: torch.Generator) -> Tensor:
    """Return each point's cluster, [N] int64, by Lloyd's algorithm from randomly chosen points.

    A centre that no point is nearest to moves to a point that is far from its own. FAISS would do, but then a run's
    numbers would depend on whether it is installed.

    Args:
        points: [N, D] float.
        clusters: at most N.
        steps: how often the centres move.
        generator: on the CPU; the same seed gives the same clusters.
    """
    chosen = torch.randperm(len(points), generator=generator)[:clusters]
    centres = points[chosen.to(points.device)]
    for _ in range(steps):
        nearest, distances = _assign(points, centres)
        centres = _means(points, nearest, clusters)
        counts = torch.bincount(nearest, minlength=clusters)
        empty = (counts == 0).nonzero().flatten()
        centres[empty] = points[distances.topk(len(empty)).indices]
    return _assign(points, centres)[0]


def _assign(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return each point's nearest centre, [N] int64, and its squared distance from it, [N]."""
    found = [(centres.square().sum(1) - 2 * part @ centres.T).min(1) for part in points.split(_CHUNK)]
    distances = torch.cat([f.values for f in found]) + points.square().sum(1)
    return torch.cat([f.indices for f in found]), distances


def _means(points: Tensor, nearest: Tensor, clusters: int) -> Tensor:
    """Return the clusters' means [clusters, D], by matrix products: a GPU adds scattered rows in no fixed order."""
    sums, counts = points.new_zeros(clusters, points.shape[1]), points.new_zeros(clusters)
    for part, own in zip(points.split(_CHUNK), nearest.split(_CHUNK), strict=True):
        member = one_hot(own, clusters).to(points.dtype)
        sums += member.T @ part
        counts += member.sum(0)
    return sums / counts.clamp_min(1).unsqueeze(1)


def entropy(counts: Tensor) -> Tensor:
    """Return the entropy in nats of a histogram of any shape, a float64 scalar."""
    part = counts.double() / counts.sum()
    return -torch.special.xlogy(part, part).sum()


def mutual_information(first: Tensor, second: Tensor, clusters: int) -> Tensor:
    """Return the mutual information of two clusterings, normalised by the mean of their entropies.

    Args:
        first: [N] int64, below `clusters`.
        second: likewise.
        clusters: the number of clusters.

    Returns:
        A float64 scalar: 1 when they agree but for the clusters' names, 0 when they are independent or either is whole.
    """
    joint = torch.bincount(first * clusters + second, minlength=clusters**2).view(clusters, clusters)
    both = entropy(joint.sum(1)) + entropy(joint.sum(0))
    return 2 * (both - entropy(joint)) / both.clamp_min(1e-12)
