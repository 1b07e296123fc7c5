"""Targets of probes: one label per image, or several tags."""

from dataclasses import dataclass

import torch
from torch import Tensor

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.metrics.average_precision import mean_average_precision

METRICS = {"top-1": "top-1 accuracy in percent", "mAP": "mean average precision over tags in percent"}


@dataclass(frozen=True)
class Labels:
    """One label per image: cross-entropy with softmax, and top-1 accuracy.

    Attributes:
        labels: [N] int64.
        classes: number of classes.
    """

    labels: Tensor
    classes: int
    metric = "top-1"

    def gradient(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return the gradient of the mean loss of images `rows` [B] by their scores [B, C]."""
        labels = self.labels.index_select(0, rows).unsqueeze(1)
        gradient = scores.softmax(1)
        return gradient.scatter_add_(1, labels, gradient.new_full(labels.shape, -1)).div_(len(rows))

    def score(self, scores: Tensor) -> float:
        """Return the top-1 accuracy of scores [N, C] in percent."""
        return 100 * float((scores.argmax(1) == self.labels).float().mean())


@dataclass(frozen=True)
class Tags:
    """Several tags per image: binary cross-entropy with sigmoid, and mean average precision.

    Attributes:
        tags: [N, C] int8: 1 yes, 0 no, -1 unknown (ignored).
    """

    tags: Tensor
    metric = "mAP"

    @property
    def classes(self) -> int:
        """Number of tags."""
        return self.tags.shape[1]

    def gradient(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return the gradient of the loss of images `rows` [B] by their scores [B, C]: mean of images, sum of tags."""
        tags = self.tags.index_select(0, rows)
        return (scores.sigmoid() - tags) * (tags >= 0) / len(rows)

    def score(self, scores: Tensor) -> float:
        """Return the mean average precision of scores [N, C] in percent."""
        return mean_average_precision(scores, self.tags)


def probe_targets(images: Dataset, device: torch.device) -> Labels | Tags:
    """Return a dataset's tags if it has any, otherwise its labels, on a device."""
    if images.tags is not None:
        return Tags(images.tags.to(device))
    return Labels(images.labels.to(device), len(images.classes))


def check_datasets(train: Dataset, test: Dataset) -> None:
    """Check that a classifier can be trained on one dataset and evaluated on the other.

    Raises:
        CodialError: one is unlabeled, only one has tags, or their classes differ.
    """
    for images in (train, test):
        if images.tags is None and not images.labeled:
            raise CodialError(f"{images} has no labels; a probe needs them (put each class into its own folder).")
    if train.classes != test.classes:
        raise CodialError(f"The classes differ: {train.classes} in {train.name}, {test.classes} in {test.name}.")
    if (train.tags is None) != (test.tags is None):
        raise CodialError(f"{train} and {test}: expected labels in both, or tags in both.")
