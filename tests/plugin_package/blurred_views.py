"""A package that adds a method through its entry point: predict whether a view was blurred."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from codial.methods import Method, MethodConfig, Variant, accuracy, register, with_method
from codial.models import build_backbone


@dataclass(frozen=True)
class BlurredConfig(MethodConfig):
    name: str = "blurred"
    kernel: int = 3


@register("blurred")
class Blurred(Method):
    """Classify views as sharp or blurred."""

    settings = BlurredConfig
    variants = {"strong": Variant(with_method(kernel=7))}  # noqa: RUF012

    def __init__(self, config, images=0, classes=0):
        super().__init__(config, images, classes)
        self.kernel = config.method.kernel
        self.backbone = build_backbone(config)
        self.classifier = nn.Linear(self.backbone.feature_dim, 2)

    @classmethod
    def adapt(cls, recipe):
        return recipe.with_primary(("rot0",)).config(cls.settings())

    def terms(self, batch):
        sharp = batch.views.images.flatten(0, 1)
        blurred = avg_pool2d(sharp, self.kernel, 1, self.kernel // 2, count_include_pad=False)
        logits = self.classifier(self.backbone(torch.cat((sharp, blurred)))).float()
        labels = torch.arange(2, device=logits.device).repeat_interleave(len(sharp))
        return {"loss": cross_entropy(logits, labels), "pretext_accuracy": accuracy(logits, labels)}
