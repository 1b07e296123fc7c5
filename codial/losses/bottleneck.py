"""The information bottleneck: the symmetrized divergence of Gaussian codes, in nats, and the schedule of its weight.

It is that of Multi-View Information Bottleneck (arXiv 2002.07017); equations are those of CODIAL (arXiv 2108.08562).
"""

from typing import NamedTuple

from torch import Tensor


def symmetrised_kl(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> Tensor:
    """Compute the mean of both Kullback-Leibler divergences between two diagonal Gaussians (equation 5), closed form.

    The logarithms of the two directions cancel. With `d = mu1 - mu2`, each dimension contributes
    `((sigma1^2 + d^2) / sigma2^2 + (sigma2^2 + d^2) / sigma1^2 - 2) / 4`.

    Args:
        mu1: means of the first Gaussian, [..., Z] float.
        sigma1: standard deviations of the first Gaussian, [..., Z] float, positive.
        mu2: means of the second Gaussian, [..., Z] float.
        sigma2: standard deviations of the second Gaussian, [..., Z] float, positive.

    Returns:
        [...] float, nats, 0 for equal Gaussians; summed over the Z dimensions.

    Example:
        >>> import torch
        >>> symmetrised_kl(torch.zeros(3, 2), torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 2))
        tensor([1., 1., 1.])
    """
    var1 = sigma1.square()
    var2 = sigma2.square()
    gap = (mu1 - mu2).square()
    return ((var1 + gap) / var2 + (var2 + gap) / var1 - 2).sum(-1) / 4


def sampled_symmetrised_kl(mu1: Tensor, sigma1: Tensor, z1: Tensor, mu2: Tensor, sigma2: Tensor, z2: Tensor) -> Tensor:
    """Estimate `symmetrised_kl` from one sample of each Gaussian, as Multi-View Information Bottleneck does.

    Args:
        mu1: means of the first Gaussian, [..., Z] float.
        sigma1: standard deviations of the first Gaussian, [..., Z] float, positive.
        z1: a sample of the first Gaussian, [..., Z] float.
        mu2: means of the second Gaussian, [..., Z] float.
        sigma2: standard deviations of the second Gaussian, [..., Z] float, positive.
        z2: a sample of the second Gaussian, [..., Z] float.

    Returns:
        [...] float, nats; unbiased, so it can be negative.

    Example:
        >>> import torch
        >>> zero, one = torch.zeros(1, 2), torch.ones(1, 2)
        >>> sampled_symmetrised_kl(zero, one, zero, one, one, one)
        tensor([1.])
    """
    log1_at1, log2_at1 = _log_density(z1, mu1, sigma1), _log_density(z1, mu2, sigma2)
    log1_at2, log2_at2 = _log_density(z2, mu1, sigma1), _log_density(z2, mu2, sigma2)
    return (log1_at1 - log2_at1 + log2_at2 - log1_at2) / 2


def _log_density(z: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Compute the log density of a diagonal Gaussian up to a constant, which cancels in differences."""
    return -(((z - mu) / sigma).square() / 2 + sigma.log()).sum(-1)


class BetaSchedule(NamedTuple):
    """Schedule of the weight of the bottleneck: constant `start`, exponential ramp, constant `end` (section 3.3).

    Attributes:
        start: first value, positive.
        end: last value, positive.
        hold: fraction of the run before the ramp, in [0, 1].
        ramp: fraction of the run that the ramp takes, in [0, 1]; 0 for a step.

    Example:
        >>> schedule = BetaSchedule(start=1e-4, end=1.0, hold=0.0, ramp=1.0)
        >>> [round(schedule.at(progress), 4) for progress in (0.0, 0.5, 1.0)]
        [0.0001, 0.01, 1.0]
    """

    start: float = 1e-6
    end: float = 1.0
    hold: float = 0.053
    ramp: float = 0.107

    def at(self, progress: float) -> float:
        """Return beta after a fraction `progress` of the run, in [0, 1]."""
        if self.ramp <= 0:
            return self.start if progress <= self.hold else self.end
        position = min(max((progress - self.hold) / self.ramp, 0.0), 1.0)
        return self.start * (self.end / self.start) ** position
