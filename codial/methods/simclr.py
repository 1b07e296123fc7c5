"""SimCLR: tell which views are of the same image (Chen, Kornblith, Norouzi, Hinton, ICML 2020)."""

from dataclasses import dataclass

from torch import nn

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require
from codial.losses import matching_accuracy, nt_xent
from codial.methods.base import Batch, Method, Terms
from codial.methods.two_views import embed_pairs, mlp, require_views, with_two_views
from codial.models import build_backbone


@dataclass(frozen=True)
class SimCLRConfig(MethodConfig):
    """Settings of SimCLR."""

    name: str = "simclr"
    dims: int = 128  # of the embeddings, as the original
    temperature: float = 0.5  # by which cosines are divided; the original's for CIFAR-10 (appendix B.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.dims >= 1, "method.dims", self.dims, "at least 1")
        require(self.temperature > 0, "method.temperature", self.temperature, "a positive number")

    def check(self, config: Config) -> None:
        """Check that an image has two upright views."""
        require_views(config)


@register("simclr")
class SimCLR(Method):
    """Contrast the two views of an image with both views of all other images of the batch, 2B - 2 negatives.

    As in the original (arXiv 2002.05709), the loss is the normalized temperature-scaled cross-entropy, and a projector
    whose hidden layer has as many units as the backbone has features maps these to 128 dimensions; the features before
    it are evaluated.

    Departures from the original: backbone, optimizer and batch size are those of all methods here (AdamW with a cosine
    schedule without warm-up instead of LARS; the original's batches have 256 to 8192 images); color jitter applies to
    every view instead of four fifths of them; a flip is shared by the views of an image; the projector's last layer has
    no batch norm.

    Args:
        config: config of the run; `config.method` holds SimCLR's settings.
        images: unused.
        classes: unused.
    """

    settings = SimCLRConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, SimCLRConfig)
        self.options = options
        self.backbone = build_backbone(config)
        features = self.backbone.feature_dim
        self.projector = mlp((features, features, options.dims))

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with two upright views per image."""
        return with_two_views(recipe).config(SimCLRConfig())

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy: of the views whose most similar other view is of the same image."""
        network = nn.Sequential(self.backbone, self.projector)
        first, second = embed_pairs(network, batch.views.images, batch.rng.processes)
        loss = nt_xent(first, second, self.options.temperature)
        return {"loss": loss, "pretext_accuracy": matching_accuracy(first, second)}
