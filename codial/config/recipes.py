"""Recipes: named settings of data, views, model and training, which every method adapts.

`photos`, `short` and `cifar10` run on a laptop; `brief`, `recommended` and `paper` need a GPU.
"""

from dataclasses import dataclass, replace
from math import ceil

from codial.config.registry import MethodConfig
from codial.config.schema import Config
from codial.config.sections import DataConfig, ModelConfig, TrainConfig, ViewsConfig


@dataclass(frozen=True)
class Recipe:
    """A config without its method."""

    name: str
    data: DataConfig
    views: ViewsConfig
    model: ModelConfig
    train: TrainConfig
    images: int = 50_000  # number of images of the data set that the epochs are meant for

    @property
    def small(self) -> bool:
        """Whether the backbone is narrower than the paper's."""
        return self.model.width < 1

    def config(self, method: MethodConfig) -> Config:
        """Return the config of a method under this recipe."""
        return Config(
            name=f"{method.name}/{self.name}",
            data=self.data,
            views=self.views,
            model=self.model,
            method=method,
            train=self.train,
        )

    def with_primary(self, primary: tuple[str, ...]) -> "Recipe":
        """Return a recipe with other primary transforms, and at least as many views in total.

        With fewer views per image, a step takes more images and a run more epochs (rounded up).
        """
        factor = len(self.views.primary) / len(primary)
        train = replace(
            self.train,
            batch=round(self.train.batch * factor),
            epochs=ceil(self.train.epochs * factor),
            monitor_every=round(self.train.monitor_every * factor),
        )
        return replace(self, views=replace(self.views, primary=primary), train=train)

    def with_one_crop(self) -> "Recipe":
        """Return a recipe whose views share one crop and have no color jitter, as in RotNet, Decouple and GlobStat."""
        plain = ViewsConfig(shared_crop=True, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
        return replace(self, views=plain)


# The paper's settings, at the scale of its CIFAR-10 column.
_PAPER = Recipe("paper", DataConfig("cifar10"), ViewsConfig(), ModelConfig(), TrainConfig(epochs=200, batch=128))

# Milder views than the paper's, which are easier to learn from.
_RECOMMENDED = replace(_PAPER, name="recommended", views=ViewsConfig(crop_area=(0.2, 1.0), hue=0.1))

# For several methods on a GPU that is available for a quarter of an hour.
_BRIEF = replace(_RECOMMENDED, name="brief", train=replace(_RECOMMENDED.train, epochs=20, monitor_every=2))

# A quarter of the width, and batch norm whose statistics settle within a short run.
_CIFAR10 = Recipe(
    "cifar10",
    data=DataConfig("cifar10", limit=10_000),
    views=_RECOMMENDED.views,
    model=ModelConfig(width=0.25, bn_momentum=0.1),
    train=TrainConfig(epochs=20, batch=32, lr=5e-5, betas=(0.9, 0.99), weight_decay=0.01, monitor_every=2),
    images=10_000,
)
# 300,000 views at twice the learning rate: at most eight minutes on two cores for the slowest method.
_SHORT = replace(_CIFAR10, name="short", train=replace(_CIFAR10.train, epochs=6, lr=1e-4, monitor_every=1))
# Even milder views: the photographs are few and differ in color.
_PHOTOS = replace(
    _CIFAR10,
    name="photos",
    data=DataConfig("photos"),
    views=replace(_CIFAR10.views, crop_area=(0.3, 1.0), hue=0.05),
    train=replace(_CIFAR10.train, epochs=6, lr=1.2e-4, monitor_every=1),
    images=4_000,
)

RECIPES = {recipe.name: recipe for recipe in (_PHOTOS, _SHORT, _CIFAR10, _BRIEF, _RECOMMENDED, _PAPER)}
