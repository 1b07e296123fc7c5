"""CMC: match lightness and color of the same image, in contrast to other images (Tian et al., ECCV 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from codial.config import Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require, require_choice
from codial.errors import CodialError
from codial.losses import MemoryBank
from codial.methods.base import Batch, Method, Terms, require_alexnet, require_one_view
from codial.models import build_backbone, to_lab
from codial.utils.devices import constant, to_device


@dataclass(frozen=True)
class CmcConfig(MethodConfig):
    """Settings of CMC."""

    name: str = "cmc"
    loss: str = "nce"  # noise-contrastive estimation, as the original; infonce: softmax over the same scores
    negatives: int = 4096  # K, sampled uniformly from the data set for each image; of the released weights
    dims: int = 128  # of the vectors in the memory banks, as the original
    temperature: float = 0.07  # T, by which cosines are divided, as the original
    bank_momentum: float = 0.5  # weight of the old vector when an image's entry is updated, as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("method.loss", self.loss, ("nce", "infonce"))
        for name in ("negatives", "dims"):
            require(getattr(self, name) >= 1, f"method.{name}", getattr(self, name), "at least 1")
        valid = self.temperature >= 0.02
        require(valid, "method.temperature", self.temperature, "at least 0.02, so that exp(1 / T) is finite")
        require(0 <= self.bank_momentum < 1, "method.bank_momentum", self.bank_momentum, "a fraction in [0, 1)")

    @property
    def input(self) -> str:
        """Lightness and color, in one half of the backbone each."""
        return "lab"

    def check(self, config: Config) -> None:
        """Check that an image has one view, and the backbone is AlexNet."""
        require_one_view(config)
        require_alexnet(config, "cmc trains two of half the width, on lightness and color")


@register("cmc")
class Cmc(Method):
    """Two halves of the backbone read L and ab of a view; each is contrasted with the memory bank of the other.

    Departures from the original: backbone and optimizer are those of all methods here (grouped convolutions, AdamW with
    a cosine schedule); the views are the config's, including color jitter; the noise-contrastive loss omits the 1e-7
    that guards its divisions. A linear probe reads the channels of both halves at a layer.

    Args:
        config: config of the run; `config.method` holds CMC's settings.
        images: N, the number of images in the data set.
        classes: unused.

    Raises:
        CodialError: there are fewer than two images.
    """

    settings = CmcConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, CmcConfig)
        if images < 2:
            raise CodialError(f"CMC keeps a vector for each image of the data set; got {images} images, expected >= 2.")
        self.options, self.images = options, images
        self.backbone = build_backbone(config)
        half = self.backbone.feature_dim // 2
        self.lightness = nn.Linear(half, options.dims)
        self.color = nn.Linear(half, options.dims)
        self.lightness_bank = MemoryBank(images, options.dims, options.bank_momentum)
        self.color_bank = MemoryBank(images, options.dims, options.bank_momentum)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with one upright view per image.

        The authors recommend a softmax and fewer negatives for small data sets; we have not compared the two.
        """
        method = CmcConfig() if recipe.name == "paper" else CmcConfig(loss="infonce", negatives=512)
        return recipe.with_primary(("rot0",)).config(method)

    def terms(self, batch: Batch) -> Terms:
        """Return loss, its parts loss_lightness and loss_color, and pretext_accuracy: own entry scores highest."""
        features = self.backbone(batch.views.images.squeeze(1))
        own = to_device(batch.indices, features.device)
        negatives = batch.rng.integers(0, self.images, self.options.negatives)
        entries = torch.cat((own.unsqueeze(1), negatives), 1)  # [B, 1 + K]
        first, second = features.chunk(2, 1)
        lightness = normalize(self.lightness(first).float())
        color = normalize(self.color(second).float())
        loss_lightness, lightness_accuracy = self._contrast(self.color_bank, lightness, entries, batch)
        loss_color, color_accuracy = self._contrast(self.lightness_bank, color, entries, batch)
        if self.training:
            self.lightness_bank.update(own, lightness, batch.rng.processes)
            self.color_bank.update(own, color, batch.rng.processes)
        return {
            "loss": loss_lightness + loss_color,
            "loss_lightness": loss_lightness,
            "loss_color": loss_color,
            "pretext_accuracy": (lightness_accuracy + color_accuracy) / 2,
        }

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return L of the views, and a and b with zero at middle gray."""
        images = batch.views.images[:, 0]
        lab = to_lab(images) / 100 + constant((0.0, 0.5, 0.5), images.device).view(3, 1, 1)
        names = ("lightness L", "green to red (a)", "blue to yellow (b)")
        return {name: lab[:, i : i + 1].clamp(0, 1).repeat(1, 3, 1, 1) for i, name in enumerate(names)}

    def _contrast(self, bank: MemoryBank, vectors: Tensor, entries: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of vectors [B, D] against a bank's entries [B, 1 + K], and how often the first is highest."""
        scores = bank.scores(vectors, entries, self.options.temperature)
        loss = bank.nce(scores, batch.rng.processes) if self.options.loss == "nce" else bank.infonce(scores)
        return loss, (scores.detach().argmax(1) == 0).float().mean()
