"""SpotArtifacts: detect images whose damaged autoencoder code was repaired (Jenni, Favaro, CVPR 2018)."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from codial.config import Config, MethodConfig, Recipe, TrainConfig
from codial.config.registry import register
from codial.config.validation import require
from codial.methods.base import (
    Batch,
    ConfusionMatrix,
    Method,
    Terms,
    accuracy,
    adamw,
    confusion_matrix,
    require_alexnet,
    require_one_view,
)
from codial.models import AlexNet, Autoencoder, RepairNetwork, build_backbone, drop_cells, upsample_mask
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup


class Reconstructions(NamedTuple):
    """Images and their reconstructions by the autoencoder, [B, 3, S, S] in [0, 1] each."""

    views: Tensor
    autoencoded: Tensor  # the class "real" of the backbone
    damaged: Tensor  # the damaged code, decoded without repair; not used in training
    repaired: Tensor  # the class "repaired" of the backbone
    mask: Tensor  # [B, 1, S / 16, S / 16], 1 where a cell of the code is kept, 0 where it is dropped


@dataclass(frozen=True)
class SpotArtifactsConfig(MethodConfig):
    """Settings of SpotArtifacts."""

    name: str = "spotartifacts"
    autoencoder_part: float = 0.5  # fraction of the run that trains the autoencoder: 500 of the original's 1,000 epochs
    width: float = 1.0  # multiplies the channels of autoencoder and repair network, which cost more than the backbone
    autoencoder_rate: float = 1.0  # learning rate of the autoencoder over the other networks'; 1 in the original
    keep: float = 0.3  # probability that a cell of the code is kept, as in the original's corrected code
    mask_weight: float = 0.1  # of the mask's cross-entropy in the backbone's loss, as the original
    error_weight: float = 30.0  # of the squared error of pixels in [-1, 1], as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("autoencoder_part", "keep"):
            require(0 < getattr(self, name) < 1, f"method.{name}", getattr(self, name), "a fraction in (0, 1)")
        require(0.05 <= self.width <= 4, "method.width", self.width, "a factor in [0.05, 4]")
        require(self.autoencoder_rate > 0, "method.autoencoder_rate", self.autoencoder_rate, "a positive factor")
        for name in ("mask_weight", "error_weight"):
            require(getattr(self, name) >= 0, f"method.{name}", getattr(self, name), "a number >= 0")

    def check(self, config: Config) -> None:
        """Check that an image has one view, of a size at which AlexNet's last maps have the same grid as the code."""
        require_one_view(config)
        require_alexnet(config, "spotartifacts needs a code and last maps of the same grid")
        expected = "a multiple of 16, 32 or more: spotartifacts needs a code and last maps of the same grid"
        require(config.views.size % 16 == 0 and config.views.size >= 32, "views.size", config.views.size, expected)
        expected = "low: with 'full', the last maps have a row and a column less than spotartifacts' code"
        require(config.model.resolution == "low", "model.resolution", config.model.resolution, expected)


@register("spotartifacts")
class SpotArtifacts(Method):
    """An autoencoder trains first; then the backbone and its adversary, a repair network, train on its codes.

    - Stage 0, loss_autoencoder: squared error of the reconstruction.
    - Stage 1, loss: cells of the code are dropped and replaced by local averages, and a repair network corrects them
      inside the frozen decoder. The backbone classifies images as intact or repaired from its last layer, and
      predicts which cells were kept from its last maps, which have the grid of the code.
    - Stage 1, loss_repair: the classifier's error, and the squared error where cells were kept.

    Both adversaries are updated at once. Intact and repaired images are in one batch of the backbone, as in the
    original, so that the batch norm statistics are of both; plain images never enter them.

    Departures from the original: the backbone is that of all methods here (batch norm on every layer, where the
    original has it on conv5 and fc6 and local response normalization after conv1 and conv2; fc7, and no dropout), and
    so are optimizer and views (AdamW with a cosine schedule, the same rate for biases and weights, no further weight
    penalty); bilinear upsampling aligns pixel centers.

    Args:
        config: config of the run; `config.method` holds SpotArtifacts's settings.
        images: unused.
        classes: unused.
    """

    settings = SpotArtifactsConfig

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, SpotArtifactsConfig)
        self.options = options
        self.backbone = build_backbone(config)
        assert isinstance(self.backbone, AlexNet)
        self.last_map, self.last = self.backbone.map_layers[-1], self.backbone.layers[-1]
        self.classifier = nn.Linear(self.backbone.feature_dim, 2)  # repaired, real
        self.mask_head = nn.Conv2d(self.backbone.map_channels[self.last_map], 1, 3, padding=1)
        self.autoencoder = Autoencoder(options.width, config.model)
        self.repair = RepairNetwork(self.autoencoder.channels, config.model)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with half as many images per step, and for short runs a faster autoencoder.

        The backbone gets two images for each view, in half of the run: as many steps and images as other backbones.
        """
        method = SpotArtifactsConfig(width=0.25, autoencoder_rate=10.0) if recipe.small else SpotArtifactsConfig()
        recipe = recipe.with_primary(("rot0",))
        return replace(recipe, train=replace(recipe.train, batch=recipe.train.batch // 2)).config(method)

    def stages(self) -> tuple[float, ...]:
        """Return the fractions of the autoencoder and the adversaries."""
        return self.options.autoencoder_part, 1 - self.options.autoencoder_part

    def optimizers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return an optimizer each for the backbone with its heads, the repair network and the autoencoder."""
        classifier = nn.ModuleList((self.backbone, self.classifier, self.mask_head))
        faster = replace(train, lr=train.lr * self.options.autoencoder_rate)
        return {
            "loss": adamw(classifier, train),
            "loss_repair": adamw(self.repair, train),
            "loss_autoencoder": adamw(self.autoencoder, faster),
        }

    def terms(self, batch: Batch) -> Terms:
        """Return loss and, in stage 0, loss_autoencoder (the same), or in stage 1 the terms of the adversaries.

        These are loss_repair, loss_mask (nats per cell), pretext_accuracy (real or repaired) and mask_accuracy (kept or
        dropped cells of repaired images; chance is 1 - `keep`).
        """
        images = batch.views.images.squeeze(1)
        self.autoencoder.requires_grad_(batch.stage == 0)
        if batch.stage == 0:
            decoded = self.autoencoder.decode(self.autoencoder.encode(images))
            loss = self._error(decoded, images, torch.ones_like(images[:, :1]), batch.rng.processes)
            return {"loss": loss, "loss_autoencoder": loss}
        self.autoencoder.eval()
        code = self.autoencoder.encode(images)
        mask = self._mask(code, batch.rng)
        repaired = self.repair(self.autoencoder, drop_cells(code, mask), mask)
        kept = upsample_mask(mask, images.shape[-1] // mask.shape[-1])
        error = self._error(repaired, images, kept, batch.rng.processes)
        return self._adversarial_terms(self.autoencoder.decode(code), repaired, mask, error)

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Reconstructions:
        """Return the reconstructions of a batch's images, in either stage, with all networks in evaluation mode."""
        self.eval()
        views = batch.views.images.squeeze(1)
        code = self.autoencoder.encode(views)
        mask = self._mask(code, batch.rng)
        damaged = drop_cells(code, mask)
        return Reconstructions(
            views,
            autoencoded=self.autoencoder.decode(code),
            damaged=self.autoencoder.decode(damaged),
            repaired=self.repair(self.autoencoder, damaged, mask),
            mask=mask,
        )

    def confusion(self, batch: Batch) -> ConfusionMatrix | None:
        """Return the confusion matrix of repaired and real images; None in stage 0."""
        if batch.stage == 0:
            return None
        images = self.reconstruct(batch)
        labels = torch.arange(2, device=images.views.device).repeat_interleave(len(images.views))
        logits = self.classifier(self.backbone(torch.cat((images.repaired, images.autoencoded))))
        return confusion_matrix(("repaired", "real"), logits, labels)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the reconstructions, and the mask of the cells of the code that are kept."""
        images = self.reconstruct(batch)
        mask = upsample_mask(images.mask, self.backbone.size // images.mask.shape[-1]).repeat(1, 3, 1, 1)
        return {
            "view": images.views,
            "autoencoded": images.autoencoded,
            "damaged": images.damaged,
            "repaired": images.repaired,
            "kept cells": mask,
        }

    def _mask(self, code: Tensor, rng: BatchGenerator) -> Tensor:
        """Sample which cells of codes [B, C, H, W] are kept, [B, 1, H, W] float32."""
        return (rng.uniform(1, *code.shape[2:]) < self.options.keep).float()

    def _error(self, output: Tensor, images: Tensor, counted: Tensor, processes: ProcessGroup) -> Tensor:
        """Return the weighted mean squared error of the counted pixels [B, 1, S, S] of all processes, in [-1, 1]."""
        count = processes.mean(counted.sum()).clamp_min(1) * images.shape[1]
        return self.options.error_weight * (counted * (2 * (output - images)).square()).sum() / count

    def _adversarial_terms(self, real: Tensor, repaired: Tensor, mask: Tensor, error: Tensor) -> Terms:
        """Return the terms of both adversaries for real and repaired images, [B, 3, S, S] each."""
        features = self.backbone.features(torch.cat((real, repaired)), (self.last_map, self.last))
        logits = self.classifier(features[self.last]).float()
        cells = self.mask_head(features[self.last_map]).float()
        is_real = torch.arange(2 * len(real), device=real.device).lt(len(real)).long()
        masks = torch.cat((torch.ones_like(mask), mask))
        loss_mask = binary_cross_entropy_with_logits(cells, masks)
        correct_cells = (cells[len(real) :] > 0) == (mask > 0)
        return {
            "loss": cross_entropy(logits, is_real) + self.options.mask_weight * loss_mask,
            "loss_repair": cross_entropy(logits, 1 - is_real) + error,
            "loss_mask": loss_mask,
            "pretext_accuracy": accuracy(logits, is_real),
            "mask_accuracy": correct_cells.float().mean(),
        }
