"""Intersection over union, from one confusion matrix over all pixels."""

import torch
from torch import Tensor


def confusion(truth: Tensor, found: Tensor, classes: int) -> Tensor:
    """Count pixels by class and by what they were taken for.

    Args:
        truth: whole numbers of any shape; what is not within 0 to classes - 1 is not counted.
        found: whole numbers of the same shape, 0 to classes - 1.
        classes: C.

    Returns:
        [C, C] int64; rows are the truth.
    """
    truth, found = truth.flatten().long(), found.flatten().long()
    judged = (truth >= 0) & (truth < classes)
    pairs = truth[judged] * classes + found[judged]
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def intersections_over_unions(counts: Tensor) -> list[float | None]:
    """Return each class's pixels that are right, over those that are of the class or taken for it.

    Args:
        counts: [C, C] as `confusion` returns.

    Returns:
        C numbers in [0, 1]; None for a class that neither is there nor was found.
    """
    right = counts.diag()
    union = counts.sum(0) + counts.sum(1) - right
    return [int(r) / int(u) if u else None for r, u in zip(right, union, strict=True)]
