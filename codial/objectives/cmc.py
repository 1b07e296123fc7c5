"""CMC: what a picture's lightness and its colours say must tell the same picture (Tian et al., ECCV 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from codial.config import CmcOptions, Config
from codial.devices import constant, to_device
from codial.errors import CodialError
from codial.models import build_trunk
from codial.models.lab import to_lab
from codial.objectives.bank import Bank
from codial.objectives.protocol import Batch, Objective, Terms


class Cmc(Objective):
    """Two halves of the trunk see L and ab of one view; each half's vector is told in the other half's memory.

    Departures from the original: the trunk and the optimiser are those that all systems share (grouped convolutions,
    AdamW with a cosine schedule); the views are the config's, changes of colour included; the noise-contrastive loss
    goes without the 1e-7 that guards its divisions. A linear probe reads both halves' channels at a tap.

    Args:
        config: of the run; `config.objective` holds CMC's options.
        pictures: N, of the set.

    Raises:
        CodialError: there are fewer than two pictures.
    """

    def __init__(self, config: Config, pictures: int) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, CmcOptions)
        if pictures < 2:
            raise CodialError(f"CMC remembers each picture of the set; pictures is {pictures}, expected 2 or more.")
        self.options, self.pictures = options, pictures
        self.trunk = build_trunk(config)
        half = self.trunk.features // 2
        self.lightness, self.colour = nn.Linear(half, options.dims), nn.Linear(half, options.dims)
        self.lightness_bank, self.colour_bank = (Bank(pictures, options.dims, options.bank_momentum) for _ in range(2))

    def terms(self, batch: Batch) -> Terms:
        """Return loss, its parts loss_lightness and loss_colour, and pretext_accuracy: the own picture scores best."""
        features = self.trunk(batch.views.images.squeeze(1))
        own, draws = to_device(batch.indices, features.device), batch.draws
        places = torch.cat(
            (own.unsqueeze(1), draws.integers(0, self.pictures, self.options.negatives)), 1
        )  # [B, 1 + K]
        first, second = features.chunk(2, 1)
        lightness, colour = normalize(self.lightness(first).float()), normalize(self.colour(second).float())
        told = [
            self._contrast(self.colour_bank, lightness, places, batch),
            self._contrast(self.lightness_bank, colour, places, batch),
        ]
        if self.training:
            self.lightness_bank.remember(own, lightness, draws.ranks)
            self.colour_bank.remember(own, colour, draws.ranks)
        (by_lightness, right), (by_colour, too) = told
        found: Terms = {"loss_lightness": by_lightness, "loss_colour": by_colour}
        return {"loss": by_lightness + by_colour} | found | {"pretext_accuracy": (right + too) / 2}

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Return L, and a and b around a middle grey: what each half of the trunk sees."""
        lab = to_lab(batch.views.images[:, 0]) / 100 + constant((0.0, 0.5, 0.5), batch.views.images.device).view(
            3, 1, 1
        )
        names = ("lightness L", "green to red (a)", "blue to yellow (b)")
        return {name: lab[:, i : i + 1].clamp(0, 1).repeat(1, 3, 1, 1) for i, name in enumerate(names)}

    def _contrast(self, bank: Bank, vectors: Tensor, places: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of vectors [B, D] in the other half's bank, and how often the own place scores best."""
        scores = bank.scores(vectors, places, self.options.temperature)
        right = (scores.detach().argmax(1) == 0).float().mean()
        return (bank.nce(scores, batch.draws.ranks) if self.options.loss == "nce" else bank.infonce(scores)), right
