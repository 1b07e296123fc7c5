"""Decouple: half of fc7 tells the quarter turn, the other half the picture (Feng, Xu, Tao, CVPR 2019)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize, softplus

from codial.config import Config, DecoupleOptions
from codial.devices import to_device
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives.protocol import Batch, Draws, Objective, Terms


class Decouple(Objective):
    """Rotation prediction and instance discrimination, each on its own half of fc7.

    - loss_transform: a linear classifier reads the quarter turn off the first half.
    - loss_mean: the second half under each turn is to meet its mean over the picture's four turns.
    - loss_instance: that mean, projected onto the sphere, is to be told from those of K random pictures, by
      noise-contrastive estimation against a bank that remembers every picture's vector (Wu et al., CVPR 2018).

    Left out: the weights of positive-unlabelled learning, by which the original in its last seventh counts those turned
    pictures less that look upright to a RotNet trained on other pictures. As for RotNet, trunk, optimiser and views are
    those of every other system; `views.shared_crop` gives back the one crop.

    Args:
        config: of the run; `config.objective` holds Decouple's options.
        pictures: N, the number of pictures in the set.

    Raises:
        CodialError: there are no pictures to remember.
    """

    bank: Tensor
    constant: Tensor

    def __init__(self, config: Config, pictures: int) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, DecoupleOptions)
        if pictures < 1:
            raise CodialError(
                f"Decouple remembers every picture of the set, of which it is told {pictures}; expected 1 or more. Give"
                " `objectives.build` their number."
            )
        self.options = options
        self.trunk = AlexNet(config.model, config.views.size)
        half = self.trunk.features // 2
        self.classifier = nn.Linear(half, len(config.views.primary))
        self.projection = nn.Linear(half, options.dims)
        reach = (3 / options.dims) ** 0.5  # vectors of length 1 on average
        self.register_buffer("bank", torch.empty(pictures, options.dims).uniform_(-reach, reach))  # [N, D]
        self.register_buffer("constant", torch.zeros(()))  # Z, 0 until the first batch

    def terms(self, batch: Batch) -> Terms:
        """Return loss, loss_transform, loss_mean, loss_instance and pretext_accuracy."""
        labels = batch.views.labels
        features = self.trunk(batch.views.images.flatten(0, 1))  # [B * 4, F]
        for_turn, for_picture = features.chunk(2, dim=1)
        logits = self.classifier(for_turn).float()
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels.flatten()).float().mean()
        transform = cross_entropy(logits, labels.flatten())
        kept = for_picture.float().view(*labels.shape, -1)  # [B, 4, F / 2]
        mean = kept.mean(1)
        apart = mse_loss(kept, mean.detach().unsqueeze(1).expand_as(kept))
        instance = self._instance(normalize(self.projection(mean).float()), batch)
        options = self.options
        loss = options.cls_weight * transform + options.mean_weight * apart + options.instance_weight * instance
        found: Terms = {"loss_transform": transform, "loss_mean": apart, "loss_instance": instance}
        return {"loss": loss} | found | {"pretext_accuracy": accuracy}

    def _instance(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Return the loss of telling each picture's own place in the bank from K drawn ones; then remember.

        Whether a place was a picture's own or drawn is a question of two classes, with P = exp(v m / T) / Z against
        K / N: the posterior's logit is ln P - ln(K / N).

        Args:
            vectors: [B, D] float32, of length 1.
            batch: whose pictures these are.
        """
        own, many = to_device(batch.indices, vectors.device), self.options.negatives
        places = torch.cat((own.unsqueeze(1), batch.draws.integers(0, len(self.bank), many)), 1)  # [B, 1 + K]
        with torch.autocast(vectors.device.type, enabled=False):
            # All of the bank, and then the places: less than a copy of each place's vector for sets of N < K D.
            scores = (vectors @ self.bank.T / self.options.temperature).gather(1, places)
        logits = scores - self._log_constant(scores, batch.draws) - math.log(many / len(self.bank))
        if self.training:
            self._remember(own, vectors, batch.draws)
        return (softplus(-logits[:, 0]) + softplus(logits[:, 1:]).sum(1)).mean()

    @torch.no_grad()
    def _log_constant(self, scores: Tensor, draws: Draws) -> Tensor:
        """Return ln Z; the first batch fixes Z for good, as N times the mean of exp(v m / T)."""
        found = draws.ranks.mean(scores.exp().mean()) * len(self.bank)
        self.constant = torch.where(self.constant > 0, self.constant, found)
        return self.constant.log()

    @torch.no_grad()
    def _remember(self, own: Tensor, vectors: Tensor, draws: Draws) -> None:
        """Move the bank towards the vectors of all processes' pictures; in a copy, for gradients still need the old."""
        own, vectors = draws.ranks.gather(own), draws.ranks.gather(vectors)
        momentum = self.options.bank_momentum
        moved = normalize(momentum * self.bank.index_select(0, own) + (1 - momentum) * vectors)
        self.bank = self.bank.index_copy(0, own, moved)
