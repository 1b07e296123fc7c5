"""Barlow Twins: match each dimension between views, and decorrelate it from all others (Zbontar et al., ICML 2021)."""

from dataclasses import dataclass

from torch import nn

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require
from codial.losses import barlow_twins, matching_accuracy
from codial.methods.base import Batch, Method, Terms
from codial.methods.two_views import embed_pairs, mlp, require_views, with_two_views
from codial.models import build_backbone


@dataclass(frozen=True)
class BarlowTwinsConfig(MethodConfig):
    """Settings of Barlow Twins."""

    name: str = "barlowtwins"
    projector: float = 2.0  # width of the projector's three layers over the backbone's: 8192 for AlexNet's 4096
    redundancy_weight: float = 5e-3  # lambda, as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.projector <= 16, "method.projector", self.projector, "a factor in (0, 16]")
        require(self.redundancy_weight >= 0, "method.redundancy_weight", self.redundancy_weight, "a number >= 0")

    def check(self, config: Config) -> None:
        """Check that an image has two upright views."""
        require_views(config)


@register("barlowtwins")
class BarlowTwins(Method):
    """Make the correlation matrix of the embeddings of both views, over the batch, the identity matrix.

    As in the original (arXiv 2103.03230), the projector has three layers of equal width, and the loss standardizes each
    dimension of each view over the batch. There are no negatives.

    Departures from the original: backbone, optimizer and batch size are those of all methods here (AdamW with a cosine
    schedule instead of LARS); the projector is twice as wide as the features, which for AlexNet are the original's 8192
    units (half of that in narrow backbones, for speed); both views of an image have the same distribution, without blur
    and solarization, share their flip, and pass the batch norms together.

    Args:
        config: config of the run; `config.method` holds the settings of Barlow Twins.
        images: unused.
        classes: unused.
    """

    settings = BarlowTwinsConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, BarlowTwinsConfig)
        self.options = options
        self.backbone = build_backbone(config)
        features = self.backbone.feature_dim
        self.projector = mlp((features, *[round(options.projector * features)] * 3))

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with two upright views per image; narrow backbones have half the projector, for speed."""
        return with_two_views(recipe).config(BarlowTwinsConfig(projector=1.0 if recipe.small else 2.0))

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy: of the views whose most similar other view is of the same image."""
        network = nn.Sequential(self.backbone, self.projector)
        first, second = embed_pairs(network, batch.views.images, batch.rng.processes)
        loss = barlow_twins(first, second, self.options.redundancy_weight)
        return {"loss": loss, "pretext_accuracy": matching_accuracy(first, second)}
