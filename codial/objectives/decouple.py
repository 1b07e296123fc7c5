"""Decouple: half of fc7 tells the quarter turn, the other half the picture (Feng, Xu, Tao, CVPR 2019)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from codial.config import Config, DecoupleOptions
from codial.devices import to_device
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives.bank import Bank
from codial.objectives.protocol import Batch, Objective, Terms


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
        self.bank = Bank(pictures, options.dims, options.bank_momentum)

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

        Args:
            vectors: [B, D] float32, of length 1.
            batch: whose pictures these are.
        """
        own, ranks = to_device(batch.indices, vectors.device), batch.draws.ranks
        drawn = batch.draws.integers(0, len(self.bank.memory), self.options.negatives)
        scores = self.bank.scores(vectors, torch.cat((own.unsqueeze(1), drawn), 1), self.options.temperature)
        loss = self.bank.nce(scores, ranks)
        if self.training:
            self.bank.remember(own, vectors, ranks)
        return loss
