"""BYOL: predict how a moving average of the network embeds the other view (Grill et al., NeurIPS 2020)."""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from codial.config import Config, MethodConfig, Recipe, TrainConfig
from codial.config.registry import register
from codial.config.validation import require
from codial.losses import matching_accuracy, negative_cosine
from codial.methods.base import Batch, Method, Terms, adamw
from codial.methods.two_views import embed_pairs, mlp, require_views, with_two_views
from codial.models import build_backbone


@dataclass(frozen=True)
class BYOLConfig(MethodConfig):
    """Settings of BYOL."""

    name: str = "byol"
    dims: int = 256  # of projections and predictions, as the original
    hidden: float = 1.0  # width of the hidden layers over the backbone's: the original's 4096 for AlexNet
    momentum: float = 0.996  # weight of the target network in its first update, as the original; it grows to 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.dims >= 1, "method.dims", self.dims, "at least 1")
        require(0 < self.hidden <= 16, "method.hidden", self.hidden, "a factor in (0, 16]")
        require(0 <= self.momentum <= 1, "method.momentum", self.momentum, "a fraction in [0, 1]")

    def check(self, config: Config) -> None:
        """Check that an image has two upright views."""
        require_views(config)

    def momentum_at(self, progress: float) -> float:
        """Return the momentum after a fraction of the run, `1 - (1 - momentum) * (cos(pi * progress) + 1) / 2`."""
        return 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2


@register("byol")
class BYOL(Method):
    """An online network predicts, from one view, the projection of the other view by the target network.

    As in the original (arXiv 2006.07733), the target network is the exponential moving average of backbone and
    projector, with a momentum that a cosine takes to 1; it gets no gradient; the predictor, which only the online
    network has, keeps both from collapse without negatives; and the loss is the squared distance of normalized vectors,
    summed over both directions. Of the methods that learn from a moving average, BYOL is here rather than DINO, because
    it works in small batches and with two views of equal size: DINO centers its teacher's outputs over many batches,
    and owes much of its accuracy to eight further small crops of an image.

    Departures from the original: backbone, optimizer and batch size are those of all methods here (AdamW with a cosine
    schedule instead of LARS); both views of an image have the same distribution, without blur and solarization, share
    their flip, and pass the batch norms together; the target is updated before the optimizer's step instead of after
    it, so that it is one step behind; hidden layers are as wide as the features, which for AlexNet are the original's
    4096 units.

    Args:
        config: config of the run; `config.method` holds BYOL's settings.
        images: unused.
        classes: unused.
    """

    settings = BYOLConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, BYOLConfig)
        self.options = options
        self.backbone = build_backbone(config)
        features = self.backbone.feature_dim
        hidden = max(1, round(options.hidden * features))
        self.projector = mlp((features, hidden, options.dims))
        self.predictor = mlp((options.dims, hidden, options.dims))
        self.target = deepcopy(nn.Sequential(self.backbone, self.projector)).requires_grad_(False)

    @property
    def online(self) -> nn.Sequential:
        """Backbone and projector, of which the target network is the moving average."""
        return nn.Sequential(self.backbone, self.projector)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with two upright views per image."""
        return with_two_views(recipe).config(BYOLConfig())

    def optimizers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return AdamW for everything but the target network."""
        return {"loss": adamw(nn.ModuleList((self.backbone, self.projector, self.predictor)), train)}

    def terms(self, batch: Batch) -> Terms:
        """Return loss, momentum and pretext_accuracy; in training, then update the target network.

        The accuracy is the fraction of views whose most similar other prediction is of the same image.
        """
        images, processes = batch.views.images, batch.rng.processes
        first, second = embed_pairs(nn.Sequential(*self.online, self.predictor), images, processes)
        with torch.no_grad():
            first_target, second_target = embed_pairs(self.target, images, processes)
        loss = negative_cosine(first, second_target) + negative_cosine(second, first_target)
        momentum = self.options.momentum_at(batch.progress)
        if self.training:
            self._update_target(momentum)
        return {"loss": loss, "momentum": momentum, "pretext_accuracy": matching_accuracy(first, second)}

    @torch.no_grad()
    def _update_target(self, momentum: float) -> None:
        for average, parameter in zip(self.target.parameters(), self.online.parameters(), strict=True):
            average.lerp_(parameter, 1 - momentum)
