"""VICReg: invariance between views, variance and no covariance over the batch (Bardes, Ponce, LeCun, ICLR 2022)."""

from dataclasses import dataclass

from torch import nn

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require
from codial.losses import VICRegLoss, matching_accuracy, vicreg_terms
from codial.methods.base import Batch, Method, Terms
from codial.methods.two_views import embed_pairs, mlp, require_views, with_two_views
from codial.models import build_backbone


@dataclass(frozen=True)
class VICRegConfig(MethodConfig):
    """Settings of VICReg."""

    name: str = "vicreg"
    expander: float = 2.0  # width of the expander's three layers over the backbone's: 8192 for AlexNet's 4096
    invariance_weight: float = 25.0  # lambda, as the original
    variance_weight: float = 25.0  # mu, as the original
    covariance_weight: float = 1.0  # nu, as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.expander <= 16, "method.expander", self.expander, "a factor in (0, 16]")
        for name in ("invariance_weight", "variance_weight", "covariance_weight"):
            require(getattr(self, name) >= 0, f"method.{name}", getattr(self, name), "a number >= 0")

    def check(self, config: Config) -> None:
        """Check that an image has two upright views."""
        require_views(config)


@register("vicreg")
class VICReg(Method):
    """Bring the embeddings of two views together; keep each dimension's variance over the batch, and no covariance.

    As in the original (arXiv 2105.04906), the expander has three layers of equal width, and each view has its variance
    and covariance terms. Nothing is normalized, and there are no negatives.

    Departures from the original: backbone, optimizer and batch size are those of all methods here (AdamW with a cosine
    schedule instead of LARS); the expander is twice as wide as the features, which for AlexNet are the original's 8192
    units (half of that in narrow backbones, for speed); both views of an image have the same distribution, without blur
    and solarization, share their flip, and pass the batch norms together.

    Args:
        config: config of the run; `config.method` holds VICReg's settings.
        images: unused.
        classes: unused.
    """

    settings = VICRegConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, VICRegConfig)
        self.backbone = build_backbone(config)
        features = self.backbone.feature_dim
        self.expander = mlp((features, *[round(options.expander * features)] * 3))
        self.vicreg = VICRegLoss(options.invariance_weight, options.variance_weight, options.covariance_weight)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with two upright views per image; narrow backbones have half the expander, for speed."""
        return with_two_views(recipe).config(VICRegConfig(expander=1.0 if recipe.small else 2.0))

    def terms(self, batch: Batch) -> Terms:
        """Return loss, its parts without their weights, and pretext_accuracy.

        The accuracy is the fraction of views whose most similar other view is of the same image.
        """
        network = nn.Sequential(self.backbone, self.expander)
        first, second = embed_pairs(network, batch.views.images, batch.rng.processes)
        parts = vicreg_terms(first, second)
        terms: Terms = {"loss": self.vicreg.combine(parts)}
        terms |= {f"loss_{name}": part for name, part in parts._asdict().items()}
        return terms | {"pretext_accuracy": matching_accuracy(first, second)}
