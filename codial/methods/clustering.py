"""Clustering of features: PCA whitening, k-means, and the agreement of two clusterings."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_CHUNK = 4096  # rows that are processed at a time


def whiten(features: Tensor, dims: int) -> Tensor:
    """Return the first principal components, scaled to unit variance.

    Args:
        features: [N, F] float.
        dims: number of components.

    Returns:
        [N, D] float32 by decreasing variance; D is `dims` or the rank of the features if that is less.
    """
    centered = features - features.mean(0)
    covariance = sum((part.double().T @ part.double() for part in centered.split(_CHUNK)), start=torch.tensor(0.0))
    values, vectors = (x.flip(-1)[..., :dims] for x in torch.linalg.eigh(covariance / len(features)))
    # Components with less than 1e-5 of the largest standard deviation are rounding errors of float32.
    kept = values > 1e-10 * values[0].clamp_min(1e-30)
    return centered @ (vectors[:, kept] * values[kept].rsqrt()).float()


def kmeans(points: Tensor, clusters: int, steps: int, generator: torch.Generator) -> Tensor:
    """Return the cluster of each point, [N] int64, by Lloyd's algorithm initialized from random points.

    An empty cluster gets a point that is far from its center. FAISS is not used, so that results do not depend on
    whether it is installed.

    Args:
        points: [N, D] float.
        clusters: number of clusters, at most N.
        steps: number of updates of the centers.
        generator: random generator on the CPU.
    """
    initial = torch.randperm(len(points), generator=generator)[:clusters]
    centers = points[initial.to(points.device)]
    for _ in range(steps):
        nearest, distances = _assign(points, centers)
        centers = _means(points, nearest, clusters)
        counts = torch.bincount(nearest, minlength=clusters)
        empty = (counts == 0).nonzero().flatten()
        centers[empty] = points[distances.topk(len(empty)).indices]
    return _assign(points, centers)[0]


def _assign(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest center of each point, [N] int64, and the squared distance from it, [N]."""
    parts = [(centers.square().sum(1) - 2 * part @ centers.T).min(1) for part in points.split(_CHUNK)]
    distances = torch.cat([part.values for part in parts]) + points.square().sum(1)
    return torch.cat([part.indices for part in parts]), distances


def _means(points: Tensor, nearest: Tensor, clusters: int) -> Tensor:
    """Return the means of the clusters, [clusters, D].

    They are computed by matrix products, because scatter operations on a GPU add in no fixed order.
    """
    sums = points.new_zeros(clusters, points.shape[1])
    counts = points.new_zeros(clusters)
    for part, labels in zip(points.split(_CHUNK), nearest.split(_CHUNK), strict=True):
        members = one_hot(labels, clusters).to(points.dtype)
        sums += members.T @ part
        counts += members.sum(0)
    return sums / counts.clamp_min(1).unsqueeze(1)


def entropy(counts: Tensor) -> Tensor:
    """Return the entropy in nats of a histogram of any shape, a float64 scalar."""
    p = counts.double() / counts.sum()
    return -torch.special.xlogy(p, p).sum()


def normalized_mutual_information(first: Tensor, second: Tensor, clusters: int) -> Tensor:
    """Return the mutual information of two clusterings, normalized by the mean of their entropies.

    Args:
        first: cluster of each point, [N] int64 in [0, clusters).
        second: another clustering of the same points.
        clusters: number of clusters.

    Returns:
        A float64 scalar: 1 if the clusterings are equal up to a permutation of the labels, 0 if they are independent
        or one of them has a single cluster.
    """
    joint = torch.bincount(first * clusters + second, minlength=clusters**2).view(clusters, clusters)
    entropies = entropy(joint.sum(1)) + entropy(joint.sum(0))
    return 2 * (entropies - entropy(joint)) / entropies.clamp_min(1e-12)
