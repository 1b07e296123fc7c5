"""Lower bounds on mutual information from the scores of a critic, in nats.

A critic scores pairs: positives, sampled from the joint distribution, and negatives, sampled from the product of the
marginals. Every bound is a function `bound(positive, negative)` of their scores. Poole et al. (arXiv 1905.06922)
compare them: those without a ceiling have a variance that grows exponentially with the information.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

TWO_LN2 = 2 * math.log(2)


def js_bound(positive: Tensor, negative: Tensor) -> Tensor:
    """Compute the Jensen-Shannon bound of Deep InfoMax (arXiv 1808.06670; CODIAL's equation 4).

    With the optimal critic it is twice the Jensen-Shannon divergence between the joint distribution and the product of
    the marginals: between 0 (independent) and 2 ln 2 = 1.386 (one determines the other). It is the paper's form plus
    2 ln 2, which has the same gradient, so that 0 is the value of a critic that scores all pairs 0.

    Args:
        positive: scores of positive pairs, any shape, float.
        negative: scores of negative pairs, any shape, float.

    Returns:
        Scalar, nats, at most 2 ln 2; at least float32. Negative for a critic that is worse than a constant 0.

    Example:
        >>> import torch
        >>> round(js_bound(torch.zeros(10), torch.zeros(10)).item(), 4)  # an uninformative critic
        0.0
        >>> round(js_bound(torch.full((10,), 50.0), torch.full((10,), -50.0)).item(), 4)  # 2 ln 2
        1.3863
    """
    positive, negative = _at_least_float32(positive, negative)
    return TWO_LN2 - softplus(-positive).mean() - softplus(negative).mean()


def infonce_bound(positive: Tensor, negative: Tensor) -> Tensor:
    """Compute the InfoNCE bound (Contrastive Predictive Coding, arXiv 1807.03748).

    `ln(1 + N) + mean(s+ - ln(exp s+ + sum_n exp s-_n))`: the cross-entropy of finding the positive among its own N
    negatives, subtracted from chance. It never exceeds ln(1 + N), however much information there is. A function of the
    anchor added to its scores changes nothing.

    Args:
        positive: scores of positive pairs, [...] float.
        negative: scores of the negatives of each, [..., N] float.

    Returns:
        Scalar, nats, at most ln(1 + N); at least float32. 0 for a critic that scores all pairs alike.

    Example:
        >>> import torch
        >>> round(infonce_bound(torch.zeros(10), torch.zeros(10, 7)).item(), 4)  # an uninformative critic
        0.0
        >>> round(infonce_bound(torch.full((10,), 50.0), torch.zeros(10, 7)).item(), 4)  # ln 8
        2.0794
    """
    positive, negative = _at_least_float32(positive, negative)
    found = positive - torch.logaddexp(positive, negative.logsumexp(-1))
    return math.log(1 + negative.shape[-1]) + found.mean()


def nwj_bound(positive: Tensor, negative: Tensor) -> Tensor:
    """Compute the bound of Nguyen, Wainwright and Jordan (arXiv 0809.0853), also called f-GAN KL or MINE-f.

    `mean(s+) - mean(exp(s- - 1))`. The optimal score is 1 plus the log ratio of the densities. It has no ceiling and no
    bias, and a large variance: a few negatives with high scores make up the second mean.

    Args:
        positive: scores of positive pairs, any shape, float.
        negative: scores of negative pairs, any shape, float.

    Returns:
        Scalar, nats; at least float32. 0 for a critic that scores all pairs 1, -1/e for 0.

    Example:
        >>> import torch
        >>> round(nwj_bound(torch.ones(10), torch.ones(10)).item(), 4)  # an uninformative critic
        0.0
        >>> round(nwj_bound(torch.full((10,), 5.0), torch.full((10,), -20.0)).item(), 4)  # no ceiling
        5.0
    """
    positive, negative = _at_least_float32(positive, negative)
    return positive.mean() - (_log_mean_exp(negative) - 1).exp()


def dv_bound(positive: Tensor, negative: Tensor) -> Tensor:
    """Compute the Donsker-Varadhan bound, which MINE maximizes (Belghazi et al., arXiv 1801.04062).

    `mean(s+) - ln mean(exp s-)`. For the same scores it is never below `nwj_bound`, and a constant added to all scores
    changes nothing. There is no ceiling. The logarithm of a mean over few negatives is biased: on a batch, the value is
    above the bound on average, and the gradient is that of the biased value. MINE replaces the gradient's denominator
    by a moving average over steps; this is left out, since it would make the bound depend on state that is neither in
    the scores nor a parameter, and the bias falls with the number of negatives, for which `negatives="batch"` is there.

    Args:
        positive: scores of positive pairs, any shape, float.
        negative: scores of negative pairs, any shape, float.

    Returns:
        Scalar, nats; at least float32. 0 for a critic that scores all pairs alike.

    Example:
        >>> import torch
        >>> round(dv_bound(torch.ones(10), torch.ones(10)).item(), 4)  # an uninformative critic
        0.0
        >>> round(dv_bound(torch.full((10,), 5.0), torch.full((10,), -20.0)).item(), 4)  # no ceiling
        25.0
    """
    positive, negative = _at_least_float32(positive, negative)
    return positive.mean() - _log_mean_exp(negative)


BOUNDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "js": js_bound,
    "infonce": infonce_bound,
    "nwj": nwj_bound,
    "dv": dv_bound,
}


def ceiling(bound: str, negatives: int) -> float:
    """Return the largest value of a bound, whatever the information, in nats; infinite for `nwj` and `dv`.

    Args:
        bound: a name in `BOUNDS`.
        negatives: N, negatives per positive.

    Example:
        >>> [round(ceiling(bound, negatives=155), 3) for bound in BOUNDS]
        [1.386, 5.05, inf, inf]
    """
    return {"js": TWO_LN2, "infonce": math.log(1 + negatives)}.get(bound, math.inf)


def _at_least_float32(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(positive.dtype, torch.float32)
    return positive.to(dtype), negative.to(dtype)


def _log_mean_exp(scores: Tensor) -> Tensor:
    return scores.flatten().logsumexp(0) - math.log(scores.numel())
