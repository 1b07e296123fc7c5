"""Intersection over union of semantic segmentation."""

import torch
from torch import Tensor


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count pixels by true and by predicted class.

    Args:
        truth: integers of any shape; pixels outside 0 to classes - 1 are ignored.
        predicted: integers of the same shape, 0 to classes - 1.
        classes: number of classes C.

    Returns:
        [C, C] int64; rows are true classes.
    """
    truth = truth.flatten().long()
    counted = (truth >= 0) & (truth < classes)
    pairs = truth[counted] * classes + predicted.flatten().long()[counted]
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def iou_by_class(counts: Tensor) -> list[float | None]:
    """Return each class's intersection over union.

    Args:
        counts: [C, C], a confusion matrix.

    Returns:
        C numbers in [0, 1]; None for a class that is neither present nor predicted.
    """
    correct = counts.diag()
    union = counts.sum(0) + counts.sum(1) - correct
    return [int(c) / int(u) if u else None for c, u in zip(correct, union, strict=True)]
