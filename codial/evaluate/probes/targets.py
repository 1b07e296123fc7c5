"""Targets of probes: one label per image, or several tags."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.copies import copies_text
from codial.evaluate.metrics.average_precision import mean_average_precision

_MAX_NAMES = 5  # of classes in a warning
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
        """Return the top-1 accuracy of scores [N, C] in percent.

        Raises:
            CodialError: a score is NaN or infinite.
        """
        if not bool(scores.isfinite().all()):
            raise CodialError("The classifier's scores are NaN or infinite: it has diverged; use lower learning rates.")
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
    """Check that a classifier can be trained on one dataset and evaluated on the other, with warnings of what is odd.

    Raises:
        CodialError: one is empty or unlabeled, only one has tags, their classes differ, or training images are of a
            single class.
    """
    for images in (train, test):
        if not len(images):
            raise CodialError(f"{images} is empty; a probe needs training and test images.")
        if images.tags is None and not images.labeled:
            raise CodialError(f"{images} has no labels; a probe needs them (put each class into its own folder).")
    if train.classes != test.classes:
        raise CodialError(f"The classes differ: {train.classes} in {train.name}, {test.classes} in {test.name}.")
    if (train.tags is None) != (test.tags is None):
        raise CodialError(f"{train} and {test}: expected labels in both, or tags in both.")
    if train.tags is None:
        _check_classes(train, test)
    if text := copies_text(test, train):
        warnings.warn(f"{text}: the classifier was trained on them.", stacklevel=3)


def _check_classes(train: Dataset, test: Dataset) -> None:
    """Warn of classes that only one of the datasets has.

    Raises:
        CodialError: the training images are of a single class, so that any classifier would be right about all.
    """
    in_train, in_test = (set(images.labels.tolist()) for images in (train, test))
    if len(in_train) == 1:
        (label,) = in_train
        raise CodialError(
            f"The training images of {train.name}/{train.split} ({len(train)}) are all of one class,"
            f" {train.classes[label]}; a probe needs two or more."
        )
    for images, missing, consequence in (
        (train, in_test - in_train, "all test images of these classes count as wrong"),
        (test, in_train - in_test, "the accuracy does not include them"),
    ):
        if missing:
            names = ", ".join(images.classes[label] for label in sorted(missing)[:_MAX_NAMES])
            more = f" and {len(missing) - _MAX_NAMES} more" if len(missing) > _MAX_NAMES else ""
            warnings.warn(f"{images.name}/{images.split} has no images of {names}{more}: {consequence}.", stacklevel=4)
