"""Supervised learning on the pictures' labels, from the same views: the upper reference of the paper's tables."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import Config
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives.protocol import Batch, Confusion, Objective, Terms, confused


class Supervised(Objective):
    """Classify the picture's label from each of its views.

    Args:
        config: of the run.
        classes: number of labels; 0 where a picture has none.

    Raises:
        CodialError: the pictures have no labels.
    """

    def __init__(self, config: Config, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise CodialError(
                "Supervised learning needs pictures that all have a label, of 2 classes or more; those of"
                f" {config.data.source!r} don't. Put the pictures of each class into a folder of their own."
            )
        self.trunk = AlexNet(config.model, config.views.size)
        self.classifier = nn.Linear(self.trunk.features, classes)

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy (here: of the label)."""
        logits, labels = self._told(batch)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": cross_entropy(logits, labels), "pretext_accuracy": accuracy}

    def confusion(self, batch: Batch) -> Confusion:
        """Return what each label is taken for; labels are named by their numbers."""
        logits, labels = self._told(batch)
        return confused([str(label) for label in range(logits.shape[1])], logits, labels)

    def _told(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [B * K, C] and labels [B * K] of all views."""
        images = batch.views.images
        logits = self.classifier(self.trunk(images.flatten(0, 1))).float()
        return logits, batch.picture_labels.repeat_interleave(images.shape[1])
