"""RotNet: tell by how many quarter turns a picture is turned (Gidaris, Singh, Komodakis, ICLR 2018)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import Config
from codial.models import AlexNet
from codial.objectives.protocol import Batch, Confusion, Objective, Terms, confused


class RotNet(Objective):
    """Classify each view by its quarter turn; all four turns of a picture are in the batch.

    Departures from the original: the trunk and the optimiser are those that all systems share (grouped convolutions of
    other widths, AdamW with a cosine schedule), so that what is compared is the task; the views are the config's, so
    that each turn has a crop and colours of its own unless `views.shared_crop` gives them all one.

    Args:
        config: of the run.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.transforms = config.views.primary
        self.trunk = AlexNet(config.model, config.views.size)
        self.classifier = nn.Linear(self.trunk.features, len(config.views.primary))

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy."""
        labels = batch.views.labels.flatten()
        logits = self._logits(batch)
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": cross_entropy(logits, labels), "pretext_accuracy": accuracy}

    def confusion(self, batch: Batch) -> Confusion:
        """Return what each quarter turn is taken for."""
        return confused(self.transforms, self._logits(batch), batch.views.labels.flatten())

    def _logits(self, batch: Batch) -> Tensor:
        return self.classifier(self.trunk(batch.views.images.flatten(0, 1))).float()  # [B * 4, 4]
