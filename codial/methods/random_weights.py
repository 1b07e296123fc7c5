"""Random weights: the backbone as it is initialized, the lower reference of the paper's tables."""

from dataclasses import dataclass, replace

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require
from codial.methods.base import Batch, Method, Terms
from codial.models import build_backbone


@dataclass(frozen=True)
class RandomConfig(MethodConfig):
    """Random weights have no settings."""

    name: str = "random"

    def check(self, config: Config) -> None:
        """Check that the run has no epochs."""
        require(config.train.epochs == 0, "train.epochs", config.train.epochs, "0: random weights are not trained")


@register("random")
class RandomWeights(Method):
    """A backbone that is never trained; with the same seed, CODIAL starts from the same weights."""

    settings = RandomConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        self.backbone = build_backbone(config)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config without epochs."""
        return replace(recipe, train=replace(recipe.train, epochs=0)).config(RandomConfig())

    def terms(self, batch: Batch) -> Terms:
        """Raise an error, since there is no loss.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("Random weights are not trained.")
