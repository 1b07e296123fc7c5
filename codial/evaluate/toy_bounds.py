"""Every bound on mutual information, against the true information of correlated Gaussians, in nats.

A batch has N pairs of Gaussian vectors. The pairs are the positives, and all N (N - 1) other combinations of a first
and a second vector are the negatives, as in `codial.losses.Alignment` with negatives "batch".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import vmap

from codial.evaluate.toy_mi import Ensemble, correlation_for, descend, log_ratio, sample_correlated
from codial.losses.bounds import BOUNDS
from codial.utils.text_table import format_table

Estimates = dict[str, Tensor]  # by bound, [R, S] nats: R true values, S batches or seeds


def optimal_estimates(
    information: Sequence[float], dims: int = 4, batch: int = 128, batches: int = 40, seed: int = 0
) -> Estimates:
    """Estimate the information of single batches with the optimal critic of each bound: [R, batches] nats by bound.

    The optimal score is the log ratio of the densities, for NWJ plus 1 (Poole et al., arXiv 1905.06922).

    Args:
        information: R true values in nats, at least 0.
        dims: dimension of each of the two Gaussians.
        batch: N, pairs in a batch.
        batches: S, number of batches.
        seed: seed of the samples.
    """
    estimates = {bound: torch.empty(len(information), batches) for bound in BOUNDS}
    for row, nats in enumerate(information):
        correlation = correlation_for(nats, dims).view(1)
        generator = torch.Generator().manual_seed(seed)  # the same noise for all, so that curves are smooth
        for column in range(batches):
            (x,), (y,) = sample_correlated(correlation, batch, dims, generator)
            scores = log_ratio(x.unsqueeze(0), y.unsqueeze(1), correlation)
            for bound, function in BOUNDS.items():
                estimates[bound][row, column] = function(*_split(scores + (bound == "nwj")))
    return estimates


def trained_estimates(
    information: Sequence[float], dims: int = 4, seeds: int = 4, steps: int = 300, batch: int = 128, seed: int = 0
) -> Estimates:
    """Train a critic with each bound, and estimate the information of new samples: [R, seeds] nats by bound.

    The critic is separable: the dot product of two perceptrons' outputs, one for each vector of a pair.

    Args:
        information: R true values in nats, at least 0.
        dims: dimension of each of the two Gaussians.
        seeds: S, number of initial weights, each with its own samples.
        steps: steps of Adam, each on new samples.
        batch: N, pairs in a batch.
        seed: first seed of the weights, and seed of the samples.
    """
    correlation = correlation_for(torch.as_tensor(information), dims).repeat_interleave(seeds)  # [R * S]
    every = [seed + s for s in range(seeds)] * len(information) * len(BOUNDS)
    critics = Ensemble(lambda: SeparableCritic(dims), every)
    optimizer = torch.optim.Adam(critics.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        descend(optimizer, -_bounds(critics, *sample_correlated(correlation, batch, dims, generator)).sum())
        schedule.step()
    with torch.no_grad():
        tests = [_bounds(critics, *sample_correlated(correlation, batch, dims, generator)) for _ in range(_TESTS)]
    means = torch.stack(tests).mean(0).view(len(BOUNDS), len(information), seeds)
    return dict(zip(BOUNDS, means, strict=True))


def bias_table(information: Sequence[float], estimates: Estimates) -> str:
    """Return a table of each bound's mean minus the true information, ± one standard deviation, in nats."""
    lines = [
        (bound, *(f"{v.mean() - nats:.2f} ± {v.std():.2f}" for nats, v in zip(information, values, strict=True)))
        for bound, values in estimates.items()
    ]
    return format_table([("true MI", *(f"{nats:g}" for nats in information)), *lines])


class SeparableCritic(nn.Module):
    """Dot products of the outputs of two perceptrons, so that a batch's N^2 pairs cost no more than 2 N vectors.

    Args:
        dims: D, dimension of each vector.
        hidden: units of the hidden layer.
        outputs: dimensions of the outputs.
    """

    def __init__(self, dims: int, hidden: int = 64, outputs: int = 32) -> None:
        super().__init__()
        self.left, self.right = (
            nn.Sequential(nn.Linear(dims, hidden), nn.ReLU(), nn.Linear(hidden, outputs)) for _ in range(2)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the scores [N, N] of all pairs of x and y, [N, D] each; positives are on the diagonal."""
        return self.right(y) @ self.left(x).T


_TESTS = 50  # batches on which trained critics are tested


def _bounds(critics: Ensemble, x: Tensor, y: Tensor) -> Tensor:
    """Return the bound [bounds, R * S] of every critic, on samples [R * S, N, D]."""
    count = len(BOUNDS)
    scores = critics(x.repeat(count, 1, 1), y.repeat(count, 1, 1)).unflatten(0, (count, -1))
    return torch.stack([vmap(bound)(*_split(each)) for bound, each in zip(BOUNDS.values(), scores, strict=True)])


def _split(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Split scores [..., N, N] into those of positives [..., N] and of the negatives of each [..., N, N - 1]."""
    count = scores.shape[-1]
    others = (torch.arange(count).unsqueeze(1) + torch.arange(1, count)) % count
    return scores.diagonal(dim1=-2, dim2=-1), scores.gather(-1, others.expand(*scores.shape[:-1], -1))
