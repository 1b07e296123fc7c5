"""What a probe learns and is judged by: one label a picture, or several tags."""

from dataclasses import dataclass

import torch
from torch import Tensor

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate.precision import mean_average_precision

METRICS = {"top-1": "top-1 accuracy in percent", "mAP": "mean average precision over tags in percent"}


@dataclass(frozen=True)
class Labels:
    """One label a picture: softmax and cross-entropy, top-1 accuracy."""

    labels: Tensor  # [N] int64
    classes: int
    metric = "top-1"

    def error(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return the gradient by the scores [B, C] of these rows' mean loss."""
        wanted, error = self.labels.index_select(0, rows).unsqueeze(1), scores.softmax(1)
        return error.scatter_add_(1, wanted, error.new_full(wanted.shape, -1)).div_(len(rows))

    def judge(self, scores: Tensor) -> float:
        """Return the percentage of pictures whose highest score [N, C] is their label's."""
        return 100 * float((scores.argmax(1) == self.labels).float().mean())


@dataclass(frozen=True)
class Tags:
    """Several tags a picture: a sigmoid and cross-entropy each, mean average precision; -1 counts in neither."""

    tags: Tensor  # [N, C] int8
    metric = "mAP"

    @property
    def classes(self) -> int:
        """How many tags there are."""
        return self.tags.shape[1]

    def error(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return the gradient by the scores [B, C] of these rows' mean loss, the sum over tags that are judged."""
        tags = self.tags.index_select(0, rows)
        return (scores.sigmoid() - tags) * (tags >= 0) / len(rows)

    def judge(self, scores: Tensor) -> float:
        """Return the mean average precision of scores [N, C] over tags, in percent."""
        return mean_average_precision(scores, self.tags)


def task_of(pictures: Pictures, device: torch.device) -> Labels | Tags:
    """Return a labelled set's task on a device: its tags where it has them."""
    if pictures.tags is not None:
        return Tags(pictures.tags.to(device))
    return Labels(pictures.labels.to(device), len(pictures.classes))


def check_sets(train: Pictures, test: Pictures) -> None:
    """Refuse sets that no classifier could learn from and be judged on.

    Raises:
        CodialError: one is unlabelled, only one has tags, or their classes differ.
    """
    for images in (train, test):
        if images.tags is None and not images.labelled:
            raise CodialError(f"{images} has no labels; a probe needs them (put each class into its own folder).")
    if train.classes != test.classes:
        raise CodialError(f"The classes differ: {train.classes} in {train.name}, {test.classes} in {test.name}.")
    if (train.tags is None) != (test.tags is None):
        raise CodialError(f"{train} and {test}: expected labels in both, or tags in both.")
