"""RotNet: predict by which multiple of 90 degrees an image is rotated (Gidaris, Singh, Komodakis, ICLR 2018)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import ROTATIONS, Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.methods.base import (
    Batch,
    ConfusionMatrix,
    Method,
    Terms,
    accuracy,
    confusion_matrix,
    require_rotations,
)
from codial.models import build_backbone


@dataclass(frozen=True)
class RotNetConfig(MethodConfig):
    """RotNet has no settings; its four rotations are `config.views.primary`."""

    name: str = "rotnet"

    def check(self, config: Config) -> None:
        """Check that the views are the four rotations."""
        require_rotations(config)


@register("rotnet")
class RotNet(Method):
    """Classify the rotation of each view; a batch has all four rotations of an image.

    Departures from the original: backbone and optimizer are those of all methods here (grouped convolutions of other
    widths, AdamW with a cosine schedule), so that only the tasks differ; the views are the config's, in which each
    rotation has its own crop and colors unless `views.shared_crop` is set.

    Args:
        config: config of the run.
        images: unused.
        classes: unused.
    """

    settings = RotNetConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        self.transforms = config.views.transforms
        self.backbone = build_backbone(config)
        self.classifier = nn.Linear(self.backbone.feature_dim, len(self.transforms))

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with four rotations per image; under the paper's recipe they share one crop."""
        recipe = recipe.with_one_crop() if recipe.name == "paper" else recipe
        return recipe.with_primary(ROTATIONS).config(RotNetConfig())

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy."""
        labels = batch.views.labels.flatten()
        logits = self._logits(batch)
        return {"loss": cross_entropy(logits, labels), "pretext_accuracy": accuracy(logits, labels)}

    def confusion(self, batch: Batch) -> ConfusionMatrix:
        """Return the confusion matrix of the rotations."""
        return confusion_matrix(self.transforms, self._logits(batch), batch.views.labels.flatten())

    def _logits(self, batch: Batch) -> Tensor:
        return self.classifier(self.backbone(batch.views.images.flatten(0, 1))).float()  # [B * 4, 4]
