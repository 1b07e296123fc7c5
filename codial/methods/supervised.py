"""Supervised learning from the labels of the images, the upper reference of the paper's tables."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.errors import CodialError
from codial.methods.base import Batch, ConfusionMatrix, Method, Terms, accuracy, confusion_matrix
from codial.models import build_backbone


@dataclass(frozen=True)
class SupervisedConfig(MethodConfig):
    """Supervised learning has no settings."""

    name: str = "supervised"


@register("supervised")
class Supervised(Method):
    """Classify the label of an image from each of its views, by cross-entropy.

    Args:
        config: config of the run.
        images: unused.
        classes: number of labels.

    Raises:
        CodialError: the images have no labels.
    """

    settings = SupervisedConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        if classes < 2:
            raise CodialError(
                f"Supervised learning needs a label of 2 or more classes for every image, but {config.data.source!r}"
                " has images without. Put the images of each class into a subfolder of their own."
            )
        self.backbone = build_backbone(config)
        self.classifier = nn.Linear(self.backbone.feature_dim, classes)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with one upright view per image."""
        return recipe.with_primary(("rot0",)).config(SupervisedConfig())

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy, which is here the accuracy of the label."""
        logits, labels = self._classify(batch)
        return {"loss": cross_entropy(logits, labels), "pretext_accuracy": accuracy(logits, labels)}

    def confusion(self, batch: Batch) -> ConfusionMatrix:
        """Return the confusion matrix of the labels; classes are named by their indices."""
        logits, labels = self._classify(batch)
        return confusion_matrix([str(label) for label in range(logits.shape[1])], logits, labels)

    def _classify(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [B * K, C] and labels [B * K] of all views."""
        images = batch.views.images
        logits = self.classifier(self.backbone(images.flatten(0, 1))).float()
        return logits, batch.image_labels.repeat_interleave(images.shape[1])
