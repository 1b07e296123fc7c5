"""Collapse: a network that gives nearly the same features to all images, whose neighbors then say nothing."""

from torch import Tensor
from torch.nn.functional import normalize

MIN_STD = 0.05  # `feature_std` below which features are collapsed; random weights have 0.19 and more in every layer


def feature_std(features: Tensor) -> float:
    """Return the mean standard deviation of L2-normalized features [N, F], times sqrt(F); NaN for fewer than two.

    It is 1 for features that are uniformly distributed on the sphere, and 0 if all images have the same (collapse).
    """
    if len(features) < 2:
        return float("nan")
    return float(normalize(features.float(), dim=1).std(0).mean() * features.shape[1] ** 0.5)


def is_collapsed(std: float) -> bool:
    """Return whether features with this `feature_std` are nearly the same; False for NaN."""
    return std < MIN_STD


def collapse_text(std: float) -> str:
    """Return what a collapsed layer is to be called, with the criterion, or "" if it is not collapsed."""
    return f"collapsed: feature_std {std:.2f} < {MIN_STD}" if is_collapsed(std) else ""
