"""SpotArtifacts: tell intact pictures from those whose damaged code was repaired (Jenni, Favaro, CVPR 2018)."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from codial.config import Config, SpotArtifactsOptions, TrainConfig
from codial.models import AlexNet, Autoencoder, Repair, damage, enlarge
from codial.objectives.protocol import Batch, Confusion, Draws, Objective, Terms, adamw, confused
from codial.ranks import Ranks


class Made(NamedTuple):
    """What becomes of a batch of pictures, each [B, 3, S, S] in [0, 1]."""

    plain: Tensor
    autoencoded: Tensor  # what the trunk is to call real
    damaged: Tensor  # the damaged code decoded as it is; no network learns from it
    repaired: Tensor  # what the trunk is to call repaired
    mask: Tensor  # [B, 1, S / 16, S / 16], 1 where a cell of the code is kept, 0 where it is dropped


class SpotArtifacts(Objective):
    """Two stages: an autoencoder learns; then the trunk and a repair network, opponents, learn from its frozen codes.

    - Stage 0, loss_autoencoder: a picture's squared error.
    - Stage 1, loss: cells of the code are dropped, and hold local averages; a repair network mends them inside the
      frozen decoder. The trunk is to tell intact pictures from repaired ones, from fc7, and where they were repaired,
      from conv5, whose grid is the code's.
    - Stage 1, loss_repair: the trunk is to be wrong, and what was kept is to stay like the picture.

    Both opponents step at once. Intact and repaired pictures pass the trunk together, as in the original, so that batch
    norm's statistics, also those that are kept, are of both kinds; those of plain pictures never enter.

    Departures from the original: the trunk is the one that all systems share (batch norm on every layer, where the
    original has it on conv5 and fc6 and local response normalisation after conv1 and conv2; fc7, and no dropout), and
    so are optimiser and views (AdamW with a cosine schedule, biases at the rate of the weights, no further penalty of
    weights); bilinear upsampling goes by pixels' centres.

    Args:
        config: of the run; `config.objective` holds SpotArtifacts' options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, SpotArtifactsOptions)
        self.options = options
        self.trunk = AlexNet(config.model, config.views.size)
        conv5 = self.trunk.get_submodule("conv5.conv")
        assert isinstance(conv5, nn.Conv2d)
        self.classifier = nn.Linear(self.trunk.features, 2)  # repaired, real
        self.mask_head = nn.Conv2d(conv5.out_channels, 1, 3, padding=1)
        self.autoencoder = Autoencoder(options.width, config.model)
        self.repair = Repair(self.autoencoder.channels, config.model)

    def stages(self) -> tuple[float, ...]:
        """Return the autoencoder's share of the run and the others'."""
        return self.options.autoencoder_part, 1 - self.options.autoencoder_part

    def optimisers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser each for the trunk with its heads, the repair network and the autoencoder."""
        spotter = nn.ModuleList((self.trunk, self.classifier, self.mask_head))
        faster = replace(train, lr=train.lr * self.options.autoencoder_rate)
        return {
            "loss": adamw(spotter, train),
            "loss_repair": adamw(self.repair, train),
            "loss_autoencoder": adamw(self.autoencoder, faster),
        }

    def terms(self, batch: Batch) -> Terms:
        """Return loss and, in stage 0, loss_autoencoder (the same), or those of the opponents.

        These are loss_repair, loss_mask (nats a cell), pretext_accuracy (real or repaired) and mask_accuracy (cells of
        repaired pictures told as kept or dropped; calling all dropped is right for 1 - `keep`).
        """
        pictures = batch.views.images.squeeze(1)
        self.autoencoder.requires_grad_(batch.stage == 0)
        if batch.stage == 0:
            made = self.autoencoder.decode(self.autoencoder.encode(pictures))
            loss = self._error(made, pictures, torch.ones_like(pictures[:, :1]), batch.draws.ranks)
            return {"loss": loss, "loss_autoencoder": loss}
        self.autoencoder.eval()
        code = self.autoencoder.encode(pictures)
        mask = self._mask(code, batch.draws)
        repaired = self.repair(self.autoencoder, damage(code, mask), mask)
        kept = enlarge(mask, pictures.shape[-1] // mask.shape[-1])
        error = self._error(repaired, pictures, kept, batch.draws.ranks)
        return self._oppose(self.autoencoder.decode(code), repaired, mask, error)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Made:
        """Return what becomes of a batch's pictures, in either stage, all networks in evaluation mode."""
        self.eval()
        plain = batch.views.images.squeeze(1)
        code = self.autoencoder.encode(plain)
        mask = self._mask(code, batch.draws)
        damaged, decode = damage(code, mask), self.autoencoder.decode
        return Made(plain, decode(code), decode(damaged), self.repair(self.autoencoder, damaged, mask), mask)

    def confusion(self, batch: Batch) -> Confusion | None:
        """Return what repaired and real pictures are taken for; None in stage 0, when nobody is asked."""
        if batch.stage == 0:
            return None
        made = self.pictures(batch)
        labels = torch.arange(2, device=made.plain.device).repeat_interleave(len(made.plain))
        logits = self.classifier(self.trunk(torch.cat((made.repaired, made.autoencoded))))
        return confused(("repaired", "real"), logits, labels)

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Return what it makes of a picture, and the mask that says which cells of the code were kept."""
        made = self.pictures(batch)
        mask = enlarge(made.mask, self.trunk.size // made.mask.shape[-1]).repeat(1, 3, 1, 1)
        found = {
            "view": made.plain,
            "autoencoded": made.autoencoded,
            "damaged": made.damaged,
            "repaired": made.repaired,
        }
        return found | {"kept cells": mask}

    def _mask(self, code: Tensor, draws: Draws) -> Tensor:
        """Draw which cells of codes [B, C, H, W] are kept, [B, 1, H, W] float32."""
        return (draws.uniform(1, *code.shape[2:]) < self.options.keep).float()

    def _error(self, made: Tensor, pictures: Tensor, counted: Tensor, ranks: Ranks) -> Tensor:
        """Return the weighted mean squared error over the counted pixels [B, 1, S, S] of all processes, in [-1, 1]."""
        count = ranks.mean(counted.sum()).clamp_min(1) * pictures.shape[1]
        return self.options.error_weight * (counted * (2 * (made - pictures)).square()).sum() / count

    def _oppose(self, real: Tensor, repaired: Tensor, mask: Tensor, error: Tensor) -> Terms:
        """Let the trunk look at both kinds, [B, 3, S, S] each, and return the opponents' terms."""
        taps = self.trunk.taps(torch.cat((real, repaired)), ("conv5", "fc7"))
        logits, cells = self.classifier(taps["fc7"]).float(), self.mask_head(taps["conv5"]).float()
        is_real = torch.arange(2 * len(real), device=real.device).lt(len(real)).long()
        masks = torch.cat((torch.ones_like(mask), mask))
        loss_mask = binary_cross_entropy_with_logits(cells, masks)
        found: Terms = {
            "loss": cross_entropy(logits, is_real) + self.options.mask_weight * loss_mask,
            "loss_repair": cross_entropy(logits, 1 - is_real) + error,
        }
        right, told = logits.argmax(1) == is_real, (cells[len(real) :] > 0) == (mask > 0)
        accuracies = {"pretext_accuracy": right.float().mean(), "mask_accuracy": told.float().mean()}
        return found | {"loss_mask": loss_mask} | accuracies
