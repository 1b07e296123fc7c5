"""Decouple: half of fc7 tells the quarter turn, the other half the picture (Feng, Xu, Tao, CVPR 2019)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from codial.config import Config, DecoupleOptions
from codial.data import Pictures
from codial.devices import to_device
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives.bank import Bank
from codial.objectives.protocol import Batch, Confusion, Objective, Terms, confused
from codial.objectives.rotnet import RotNet
from codial.objectives.whole import plain_views, require_one_process
from codial.views import rotate


class Decouple(Objective):
    """Rotation prediction and instance discrimination, each on its own half of fc7.

    - loss_transform: a linear classifier reads the quarter turn off the first half.
    - loss_mean: the second half under each turn is to meet its mean over the picture's four turns.
    - loss_instance: that mean, projected onto the sphere, is to be told from those of K random pictures, by
      noise-contrastive estimation against a bank that remembers every picture's vector (Wu et al., CVPR 2018).

    A picture that looks upright under any turn (a flower from above) has no quarter turn to tell. So the last part of
    the run counts a turned picture by 1 - p^gamma only, p being the probability that a RotNet trained on other pictures
    gives to "upright" (positive-unlabelled learning: what is not turned is surely upright, the rest only perhaps not).
    With `pu_part`, the run has three stages, each with a learning-rate schedule of its own:

    1. Two RotNets, the judges, learn from one half of the pictures each; nothing else learns. Then each judges the
       other half, every picture whole under its four turns.
    2. Decouple, all turned pictures alike.
    3. The same (`weighted_part`), turned pictures by their weights.

    Departures from the original: the judges' training is part of the run; the last stage starts at the full learning
    rate instead of a hundredth of it; as for RotNet, trunk, optimiser and views are those of every other system;
    `views.shared_crop` gives back the one crop.

    Args:
        config: of the run; `config.objective` holds Decouple's options.
        pictures: N, the number of pictures in the set.

    Raises:
        CodialError: there are no pictures to remember.
    """

    upright: Tensor

    def __init__(self, config: Config, pictures: int) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, DecoupleOptions)
        if pictures < 1:
            raise CodialError(
                f"Decouple remembers every picture of the set, of which it is told {pictures}; expected 1 or more. Give"
                " `objectives.build` their number."
            )
        self.options, self.transforms = options, config.views.primary
        self.trunk = AlexNet(config.model, config.views.size)
        half = self.trunk.features // 2
        self.classifier = nn.Linear(half, len(config.views.primary))
        self.projection = nn.Linear(half, options.dims)
        self.bank = Bank(pictures, options.dims, options.bank_momentum)
        self.halves = torch.randperm(pictures, generator=torch.Generator().manual_seed(config.seed)) % 2  # on the CPU
        self.judges = nn.ModuleList(RotNet(config) for _ in range(2 if options.pu_part else 0))
        upright = torch.zeros(pictures, len(config.views.primary)) if options.pu_part else None
        self.register_buffer("upright", upright)  # p of "upright" [N, 4], by the other half's judge; 0 until judged

    def stages(self) -> tuple[float, ...]:
        """Return the shares of judges, plain and weighted training; one stage without judges."""
        judges, weighted = self.options.pu_part, self.options.weighted_part
        return (judges, 1 - judges - weighted, weighted) if judges else (1.0,)

    def begin_epoch(self, images: Pictures, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Let the judges judge when they have learnt, unless a run that resumes here has done so."""
        if stage > 0 and not self.upright.any():
            self.upright.copy_(self.judged(images))

    @torch.no_grad()
    def judged(self, images: Pictures) -> Tensor:
        """Return p of "upright" for each picture, whole, under each turn, by the judge that never saw it, [N, 4]."""
        found = torch.empty_like(self.upright)
        for half, judge in enumerate(self.judges.eval()):
            assert isinstance(judge, RotNet)
            places = (self.halves != half).nonzero().squeeze(1)
            parts = [
                torch.stack([judge.classifier(judge.trunk(rotate(view, turn))) for turn in range(found.shape[1])], 1)
                for view in plain_views(images, self.trunk.size, found.device, places)
            ]  # [B, 4, 4] each
            if parts:
                found[to_device(places, found.device)] = torch.cat(parts).float().softmax(2)[..., 0]
        return found

    def terms(self, batch: Batch) -> Terms:
        """Return loss, loss_transform, loss_mean, loss_instance and pretext_accuracy.

        With judges there is turn_weight too, the mean weight of the views; while they learn, there are but loss and
        judge_accuracy (on the half that each knows).

        Raises:
            CodialError: there are judges and several processes.
        """
        if self.judges:
            require_one_process(batch, "Decouple's judges train", "weights", ", or set objective.pu_part to 0")
            if batch.stage == 0:
                return self._judge_terms(batch)
        labels, options = batch.views.labels, self.options
        features = self.trunk(batch.views.images.flatten(0, 1))  # [B * 4, F]
        for_turn, for_picture = features.chunk(2, dim=1)
        logits = self.classifier(for_turn).float()
        with torch.no_grad():
            accuracy = (logits.argmax(1) == labels.flatten()).float().mean()
        weights = self.weights(batch)
        transform = (weights.flatten() * cross_entropy(logits, labels.flatten(), reduction="none")).mean()
        kept = for_picture.float().view(*labels.shape, -1)  # [B, 4, F / 2]
        mean = kept.mean(1)
        apart = mse_loss(kept, mean.detach().unsqueeze(1).expand_as(kept))
        instance = self._instance(normalize(self.projection(mean).float()), batch)
        loss = options.cls_weight * transform + options.mean_weight * apart + options.instance_weight * instance
        found: Terms = {"loss": loss, "loss_transform": transform, "loss_mean": apart, "loss_instance": instance}
        if self.judges:
            found["turn_weight"] = weights.mean()
        return found | {"pretext_accuracy": accuracy}

    def confusion(self, batch: Batch) -> Confusion:
        """Return what each quarter turn is taken for by the first half of fc7; in every stage."""
        for_turn, _ = self.trunk(batch.views.images.flatten(0, 1)).chunk(2, dim=1)
        return confused(self.transforms, self.classifier(for_turn), batch.views.labels.flatten())

    def weights(self, batch: Batch) -> Tensor:
        """Return how much each view counts, [B, 4] float32: 1 - p^gamma if turned, in the last stage; else 1."""
        labels = batch.views.labels
        if batch.stage < 2:
            return torch.ones_like(labels, dtype=torch.float32)
        upright = self.upright[to_device(batch.indices, labels.device)].gather(1, labels)
        return torch.where(labels > 0, 1 - upright**self.options.gamma, 1.0)

    def _judge_terms(self, batch: Batch) -> Terms:
        """Return the mean loss over views, each of which its half's judge alone has seen."""
        views, share = batch.views, 1 / len(batch.indices)
        found: Terms = {"loss": torch.zeros(()), "judge_accuracy": torch.zeros(())}
        for half, judge in enumerate(self.judges):
            assert isinstance(judge, RotNet)
            rows = to_device((self.halves[batch.indices] == half).nonzero().squeeze(1), views.images.device)
            if len(rows):
                own = views._replace(images=views.images[rows], labels=views.labels[rows])
                terms = judge.terms(batch._replace(views=own))
                found["loss"] = found["loss"] + terms["loss"] * len(rows) * share
                found["judge_accuracy"] = found["judge_accuracy"] + terms["pretext_accuracy"] * len(rows) * share
        return found

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
