"""Mutual information and its bottleneck: pure functions, in nats.

Equations are those of CODIAL (arXiv 2108.08562). The bound is the Jensen-Shannon one of Deep InfoMax; the bottleneck is
the symmetrised divergence of Multi-View Information Bottleneck.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from codial.config import CodialOptions

TWO_LN2 = 2 * math.log(2)


def js_bound(joint: Tensor, marginal: Tensor) -> Tensor:
    """Return the Jensen-Shannon bound on mutual information from a critic's scores (equation 4).

    With the critic at its optimum it tends to twice the Jensen-Shannon divergence between the joint and the product of
    marginals, so it lies between 0 (independent) and 2 ln 2 = 1.386 (one determines the other). It is shifted by 2 ln 2
    against the paper's form, which has the same gradient, so that 0 means that the critic knows nothing.

    Args:
        joint: scores of pairs drawn together, any shape, float.
        marginal: scores of pairs drawn apart, any shape, float.

    Returns:
        Scalar, nats, below 2 ln 2; negative when the critic is worse than none.
    """
    wide = torch.promote_types(joint.dtype, torch.float32)
    return TWO_LN2 - softplus(-joint.to(wide)).mean() - softplus(marginal.to(wide)).mean()


def symmetrised_kl(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> Tensor:
    """Return half the sum of both Kullback-Leibler divergences of two diagonal Gaussians (equation 5), closed form.

    The logarithms of the two directions cancel, which leaves a form without any: per dimension
    `((s1^2 + d^2) / s2^2 + (s2^2 + d^2) / s1^2 - 2) / 4` with `d = mu1 - mu2`.

    Args:
        mu1: means of the first, [..., Z] float.
        sigma1: standard deviations of the first, [..., Z] float, positive.
        mu2: means of the second, [..., Z] float.
        sigma2: standard deviations of the second, [..., Z] float, positive.

    Returns:
        [...] float, nats, zero where both agree.
    """
    var1, var2, gap = sigma1.square(), sigma2.square(), (mu1 - mu2).square()
    return ((var1 + gap) / var2 + (var2 + gap) / var1 - 2).sum(-1) / 4


def sampled_symmetrised_kl(mu1: Tensor, sigma1: Tensor, z1: Tensor, mu2: Tensor, sigma2: Tensor, z2: Tensor) -> Tensor:
    """Return `symmetrised_kl` estimated from one draw of each Gaussian, as Multi-View Information Bottleneck does.

    Args:
        mu1: means of the first, [..., Z] float.
        sigma1: standard deviations of the first, [..., Z] float.
        z1: a draw of the first, [..., Z] float.
        mu2: means of the second, [..., Z] float.
        sigma2: standard deviations of the second, [..., Z] float.
        z2: a draw of the second, [..., Z] float.

    Returns:
        [...] float, nats; unbiased, and negative at times.
    """
    log1_at1, log2_at1 = _log_density(z1, mu1, sigma1), _log_density(z1, mu2, sigma2)
    log1_at2, log2_at2 = _log_density(z2, mu1, sigma1), _log_density(z2, mu2, sigma2)
    return (log1_at1 - log2_at1 + log2_at2 - log1_at2) / 2


def _log_density(z: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian, without the constant that cancels in every difference."""
    return -(((z - mu) / sigma).square() / 2 + sigma.log()).sum(-1)


def beta_at(progress: float, schedule: CodialOptions) -> float:
    """Return the bottleneck's weight: `beta_start`, then an exponential ramp, then `beta_end`.

    Args:
        progress: part of the run that is over, in [0, 1].
        schedule: holds `beta_start`, `beta_end`, `beta_hold` and `beta_ramp` (parts of the run).
    """
    if schedule.beta_ramp <= 0:
        return schedule.beta_start if progress <= schedule.beta_hold else schedule.beta_end
    risen = min(max((progress - schedule.beta_hold) / schedule.beta_ramp, 0.0), 1.0)
    return schedule.beta_start * (schedule.beta_end / schedule.beta_start) ** risen
