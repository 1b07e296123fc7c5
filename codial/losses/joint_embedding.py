"""Losses of joint-embedding methods: the embeddings of two views of N images, [N, D] each, row by row the same image.

All but `negative_cosine` are symmetric in the two views, and all compute in at least float32, also under autocast. In
training by several processes, gather the embeddings of all of them first (`utils.distributed.ProcessGroup.gather`).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss, normalize, relu

from codial.config.validation import require
from codial.errors import CodialError

_BATCH_NORM_EPS = 1e-5  # added to variances, as Barlow Twins' batch norm does
_STD_EPS = 1e-4  # added to variances, as VICReg does


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """Compute InfoNCE (Oord et al. 2018, arXiv 1807.03748) between two views, averaged over both directions.

    Each view of an image is told among that view of all N images by the cosine of its embedding divided by the
    temperature: there are N - 1 negatives, all from the other view. ln N minus the loss is a lower bound on the mutual
    information of the views.

    Args:
        first: embeddings of the first views, [N, D] float; their lengths do not matter.
        second: embeddings of the second views, [N, D] float.
        temperature: positive, divides the cosines.

    Returns:
        Scalar, nats; ln N for embeddings that are all alike.

    Raises:
        CodialError: the shapes differ, there are fewer than two images, or the temperature is not positive.

    Example:
        >>> import torch
        >>> round(info_nce(torch.ones(8, 4), torch.ones(8, 4)).item(), 4)  # ln 8
        2.0794
        >>> round(info_nce(torch.eye(8), torch.eye(8), temperature=0.05).item(), 4)
        0.0
    """
    _check_temperature(temperature)
    first, second = _prepare(first, second)
    with _without_autocast(first):
        scores = normalize(first) @ normalize(second).T / temperature  # [N, N]
    targets = torch.arange(len(scores), device=scores.device)
    return (cross_entropy(scores, targets) + cross_entropy(scores.T, targets)) / 2


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """Compute SimCLR's normalized temperature-scaled cross-entropy (Chen et al. 2020, arXiv 2002.05709, equation 1).

    As `info_nce`, but each of the 2N views is told among all others: both views of all other images are negatives,
    2N - 2 in number.

    Args:
        first: embeddings of the first views, [N, D] float; their lengths do not matter.
        second: embeddings of the second views, [N, D] float.
        temperature: positive, divides the cosines.

    Returns:
        Scalar, nats; ln(2N - 1) for embeddings that are all alike.

    Raises:
        CodialError: the shapes differ, there are fewer than two images, or the temperature is not positive.

    Example:
        >>> import torch
        >>> round(nt_xent(torch.ones(8, 4), torch.ones(8, 4)).item(), 4)  # ln 15
        2.7081
    """
    _check_temperature(temperature)
    scores, targets = _scores_of_others(first, second)
    return cross_entropy(scores / temperature, targets)


@torch.no_grad()
def matching_accuracy(first: Tensor, second: Tensor) -> Tensor:
    """Compute the fraction of the 2N views whose most similar other view, by cosine, is of the same image.

    Args:
        first: embeddings of the first views, [N, D] float.
        second: embeddings of the second views, [N, D] float.

    Returns:
        Scalar float32 in [0, 1]; 1 / (2N - 1) by chance.

    Raises:
        CodialError: the shapes differ, or there are fewer than two images.

    Example:
        >>> import torch
        >>> matching_accuracy(torch.eye(4), torch.eye(4)).item()
        1.0
    """
    scores, targets = _scores_of_others(first, second)
    return (scores.argmax(1) == targets).float().mean()


def barlow_twins(first: Tensor, second: Tensor, redundancy_weight: float = 5e-3) -> Tensor:
    """Compute the loss of Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, equation 1).

    With C the matrix of correlations, over the batch, of the D dimensions of both views:
    `sum_i (1 - C_ii)^2 + weight * sum_i sum_(j != i) C_ij^2`.

    Args:
        first: embeddings of the first views, [N, D] float.
        second: embeddings of the second views, [N, D] float.
        redundancy_weight: lambda, weight of the off-diagonal terms.

    Returns:
        Scalar, without unit; summed over dimensions, so that it grows with D.

    Raises:
        CodialError: the shapes differ, there are fewer than two images, or the weight is negative.

    Example:
        >>> import torch
        >>> z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # two uncorrelated dimensions
        >>> round(barlow_twins(z, z).item(), 3), round(barlow_twins(z, -z).item(), 3)
        (0.0, 8.0)
    """
    require(redundancy_weight >= 0, "redundancy_weight", redundancy_weight, "a number >= 0")
    first, second = (_standardize(view) for view in _prepare(first, second))
    with _without_autocast(first):
        correlations = first.T @ second / len(first)  # [D, D]
    diagonal = correlations.diagonal()
    redundancy = correlations.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy_weight * redundancy


class VICRegTerms(NamedTuple):
    """The three terms of VICReg, scalars without weights."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_terms(first: Tensor, second: Tensor) -> VICRegTerms:
    """Compute the terms of VICReg (Bardes, Ponce, LeCun 2022, arXiv 2105.04906, equations 1 to 5).

    Invariance is the mean squared difference of the two views. Variance is the mean over dimensions and views of
    `max(0, 1 - std)`, with the standard deviation over the batch. Covariance is the sum over pairs of different
    dimensions of the squared covariance over the batch, divided by D, summed over the views. These means and sums are
    those of the authors' code, to which their weights refer; the paper sums the squared differences over dimensions,
    and the variance over the views.

    Args:
        first: embeddings of the first views, [N, D] float.
        second: embeddings of the second views, [N, D] float.

    Raises:
        CodialError: the shapes differ, or there are fewer than two images.

    Example:
        >>> import torch
        >>> [term.item() for term in vicreg_terms(torch.zeros(8, 4), torch.ones(8, 4))]  # std is 0.01, not 0
        [1.0, 0.9900000095367432, 0.0]
    """
    first, second = _prepare(first, second)
    variance = (_variance_hinge(first) + _variance_hinge(second)) / 2
    covariance = _squared_covariances(first) + _squared_covariances(second)
    return VICRegTerms(mse_loss(first, second), variance, covariance)


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute BYOL's regression loss (Grill et al. 2020, arXiv 2006.07733, equation 2), `2 - 2 cos`, without symmetry.

    No gradient reaches the target.

    Args:
        predicted: predictions of the online network for one view, [N, D] float; their lengths do not matter.
        target: projections of the target network for the other view, [N, D] float.

    Returns:
        Scalar in [0, 4]: the mean squared distance of the normalized vectors.

    Raises:
        CodialError: the shapes differ, or there are fewer than two images.

    Example:
        >>> import torch
        >>> [round(negative_cosine(torch.eye(4), sign * torch.eye(4)).item(), 4) for sign in (1, -1)]
        [0.0, 4.0]
    """
    predicted, target = _prepare(predicted, target.detach())
    return 2 - 2 * cosine_similarity(predicted, target).mean()


class InfoNCE(nn.Module):
    """`info_nce`, or `nt_xent` with `within=True`, at a fixed temperature.

    Args:
        temperature: positive, divides the cosines.
        within: whether the views of other images in the same set are negatives, too, as in SimCLR.

    Raises:
        CodialError: the temperature is not positive.

    Example:
        >>> import torch
        >>> loss = InfoNCE(temperature=0.2)
        >>> loss(torch.randn(8, 16), torch.randn(8, 16)).shape
        torch.Size([])
    """

    def __init__(self, temperature: float = 0.5, *, within: bool = False) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature
        self.within = within

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of embeddings [N, D] of two views, a scalar in nats."""
        return (nt_xent if self.within else info_nce)(first, second, self.temperature)


class BarlowTwinsLoss(nn.Module):
    """`barlow_twins` with a fixed weight.

    Args:
        redundancy_weight: lambda, weight of the off-diagonal terms.

    Raises:
        CodialError: the weight is negative.

    Example:
        >>> import torch
        >>> BarlowTwinsLoss()(torch.randn(8, 16), torch.randn(8, 16)).shape
        torch.Size([])
    """

    def __init__(self, redundancy_weight: float = 5e-3) -> None:
        super().__init__()
        require(redundancy_weight >= 0, "redundancy_weight", redundancy_weight, "a number >= 0")
        self.redundancy_weight = redundancy_weight

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of embeddings [N, D] of two views, a scalar."""
        return barlow_twins(first, second, self.redundancy_weight)


class VICRegLoss(nn.Module):
    """Weighted sum of `vicreg_terms`.

    Args:
        invariance_weight: lambda, weight of the invariance.
        variance_weight: mu, weight of the variance.
        covariance_weight: nu, weight of the covariance.

    Raises:
        CodialError: a weight is negative.

    Example:
        >>> import torch
        >>> loss = VICRegLoss()
        >>> loss(torch.randn(8, 16), torch.randn(8, 16)).shape
        torch.Size([])
    """

    def __init__(
        self, invariance_weight: float = 25.0, variance_weight: float = 25.0, covariance_weight: float = 1.0
    ) -> None:
        super().__init__()
        weights = {
            "invariance_weight": invariance_weight,
            "variance_weight": variance_weight,
            "covariance_weight": covariance_weight,
        }
        for name, weight in weights.items():
            require(weight >= 0, name, weight, "a number >= 0")
        self.weights = tuple(weights.values())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of embeddings [N, D] of two views, a scalar."""
        return self.combine(vicreg_terms(first, second))

    def combine(self, terms: VICRegTerms) -> Tensor:
        """Return the weighted sum of the terms."""
        invariance, variance, covariance = (w * term for w, term in zip(self.weights, terms, strict=True))
        return invariance + variance + covariance


def _prepare(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Check a pair of embeddings, and return them in float32 or float64."""
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise CodialError(
            f"Embeddings are {list(first.shape)} and {list(second.shape)}; expected [N, D] for both: two views of the"
            " same N >= 2 images."
        )
    return tuple(z.to(torch.promote_types(z.dtype, torch.float32)) for z in (first, second))  # type: ignore[return-value]


def _check_temperature(temperature: float) -> None:
    require(temperature > 0, "temperature", temperature, "a positive number")


def _without_autocast(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _scores_of_others(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of 2N views with each other, [2N, 2N] with -inf on the diagonal, and their positives, [2N]."""
    both = normalize(torch.cat(_prepare(first, second)))
    with _without_autocast(both):
        scores = both @ both.T
    indices = torch.arange(len(both), device=both.device)
    return scores.masked_fill(indices == indices.unsqueeze(1), -torch.inf), indices.roll(len(first))


def _standardize(z: Tensor) -> Tensor:
    """Return embeddings with mean 0 and variance 1 over the batch in each dimension."""
    centered = z - z.mean(0)
    return centered * (centered.square().mean(0) + _BATCH_NORM_EPS).rsqrt()


def _variance_hinge(z: Tensor) -> Tensor:
    return relu(1 - (z.var(0) + _STD_EPS).sqrt()).mean()


def _squared_covariances(z: Tensor) -> Tensor:
    centered = z - z.mean(0)
    with _without_autocast(z):
        covariances = centered.T @ centered / (len(z) - 1)  # [D, D]
    return (covariances.square().sum() - covariances.diagonal().square().sum()) / z.shape[1]
