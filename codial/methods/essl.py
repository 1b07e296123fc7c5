"""E-SSL: match two upright views, and tell the rotation of a third one (Dangovski et al., ICLR 2022)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

from codial.config import ROTATIONS, Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require
from codial.losses import info_nce, matching_accuracy
from codial.methods.base import Batch, ConfusionMatrix, Method, Terms, accuracy, confusion_matrix
from codial.methods.two_views import mlp, require_views, with_two_views
from codial.models import build_backbone

_VIEWS = ("rot0", "rot0", "rot0")  # two to align and one to rotate
_PASSES = 6  # images that the backbone gets of each: two views and four rotations


@dataclass(frozen=True)
class ESSLConfig(MethodConfig):
    """Settings of E-SSL."""

    name: str = "essl"
    projector: float = 1.0  # width of the projector's two layers over the backbone's
    head: float = 1.0  # width of the rotation head's hidden layers over the backbone's
    temperature: float = 0.5  # by which cosines are divided, as the original
    rotation_weight: float = 0.4  # lambda, as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("projector", "head"):
            require(0 < getattr(self, name) <= 16, f"method.{name}", getattr(self, name), "a factor in (0, 16]")
        require(self.temperature > 0, "method.temperature", self.temperature, "a positive number")
        require(self.rotation_weight >= 0, "method.rotation_weight", self.rotation_weight, "a number >= 0")

    def check(self, config: Config) -> None:
        """Check that an image has three upright views."""
        require_views(config, _VIEWS)


class RotationHead(nn.Sequential):
    """Perceptron with two hidden layers, each with layer norm and ReLU.

    Args:
        in_features: number of inputs.
        hidden: number of units of the hidden layers.
        classes: number of outputs.
    """

    def __init__(self, in_features: int, hidden: int, classes: int) -> None:
        layers: list[nn.Module] = []
        for inputs in (in_features, hidden):
            layers += [nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU()]
        super().__init__(*layers, nn.Linear(hidden, classes))
        self.in_features = in_features


@register("essl")
class ESSL(Method):
    """Align two upright views by InfoNCE, and classify the rotation of a third, small view by a head of its own.

    As in the original for CIFAR-10 (arXiv 2111.00899), InfoNCE is symmetric, with the second views of other images as
    negatives; the third view has half the resolution and is rotated by all four multiples of 90 degrees; their
    cross-entropy has the weight 0.4; projector and rotation head both read the features that are evaluated. Nothing is
    aligned across rotations, unlike in CODIAL. The history counts three views per image, of which the backbone gets six
    images.

    Departures from the original: backbone, optimizer and batch size are those of all methods here (AdamW with a cosine
    schedule without warm-up instead of SGD); the third view is enlarged to the size of the others again, because the
    dense layers of AlexNet read maps of one size; all six images pass the batch norms together; layers of projector and
    head are as wide as the features, instead of four times as wide as those of a ResNet-18 (2048); the projector's last
    layer has no batch norm; color jitter applies to every view instead of four fifths of them; a flip is shared by the
    views of an image.

    Args:
        config: config of the run; `config.method` holds E-SSL's settings.
        images: unused.
        classes: unused.
    """

    settings = ESSLConfig
    transforms = ROTATIONS

    classifier: RotationHead  # type: ignore[assignment]

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, ESSLConfig)
        self.options = options
        self.backbone = build_backbone(config)
        features = self.backbone.feature_dim
        width = max(1, round(options.projector * features))
        self.projector = mlp((features, width, width))
        self.classifier = RotationHead(features, max(1, round(options.head * features)), len(ROTATIONS))

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with three upright views, and as many images per step as if there were six.

        The backbone gets six images of each, so that a step and a run cost as much as those of other methods. The
        number of images is rounded to an even one, which two processes can share.
        """
        batch = 2 * round(recipe.train.batch * len(recipe.views.primary) / _PASSES / 2)
        recipe = with_two_views(recipe, ("rot0",) * _PASSES)
        views, train = replace(recipe.views, primary=_VIEWS), replace(recipe.train, batch=batch)
        return replace(recipe, views=views, train=train).config(ESSLConfig())

    def terms(self, batch: Batch) -> Terms:
        """Return loss, its parts loss_align and loss_rotation, pretext_accuracy of rotations and matching_accuracy."""
        images, processes = batch.views.images, batch.rng.processes
        upright, rotated = images[:, :2].flatten(0, 1), rotations(images[:, 2])
        features = self.backbone(torch.cat((upright, rotated)))
        embeddings = self.projector(features[: len(upright)]).float().view(len(images), 2, -1)
        first, second = processes.gather(embeddings).unbind(1)
        align = info_nce(first, second, self.options.temperature)
        logits = self.classifier(features[len(upright) :]).float()
        labels = rotation_labels(len(images), logits.device)
        rotation = cross_entropy(logits, labels)
        terms: Terms = {"loss": align + self.options.rotation_weight * rotation}
        terms |= {"loss_align": align, "loss_rotation": rotation, "pretext_accuracy": accuracy(logits, labels)}
        return terms | {"matching_accuracy": matching_accuracy(first, second)}

    def confusion(self, batch: Batch) -> ConfusionMatrix:
        """Return the confusion matrix of the rotations."""
        third = batch.views.images[:, 2]
        logits = self.classifier(self.backbone(rotations(third)))
        return confusion_matrix(self.transforms, logits, rotation_labels(len(third), logits.device))

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the two upright views, and the third at half the resolution under each rotation."""
        images = batch.views.images
        rotated = rotations(images[:, 2]).unflatten(0, (len(ROTATIONS), -1))
        return {"view 1": images[:, 0], "view 2": images[:, 1]} | dict(zip(ROTATIONS, rotated, strict=True))


def rotations(images: Tensor) -> Tensor:
    """Return images [B, 3, S, S] at half the resolution and the same size, rotated: [4 * B, 3, S, S], by rotation."""
    small = avg_pool2d(images, 2)
    enlarged = interpolate(small, size=images.shape[2:], mode="bilinear")
    return torch.cat([torch.rot90(enlarged, k, (2, 3)) for k in range(len(ROTATIONS))])


def rotation_labels(images: int, device: torch.device) -> Tensor:
    """Return the classes of `rotations` of a number of images, [4 * B] int64."""
    return torch.arange(len(ROTATIONS), device=device).repeat_interleave(images)
