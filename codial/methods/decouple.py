"""Decouple: half of the features predict the rotation, the others identify the image (Feng, Xu, Tao, CVPR 2019)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from codial.config import ROTATIONS, Config, MethodConfig, Recipe
from codial.config.registry import register
from codial.config.validation import require
from codial.data import Dataset
from codial.errors import CodialError
from codial.losses import MemoryBank
from codial.methods.base import (
    Batch,
    ConfusionMatrix,
    Method,
    Terms,
    accuracy,
    confusion_matrix,
    require_rotations,
)
from codial.methods.rotnet import RotNet
from codial.methods.whole_dataset import require_one_process, uncropped_batches
from codial.models import build_backbone
from codial.transforms import rotate
from codial.utils.devices import to_device


@dataclass(frozen=True)
class DecoupleConfig(MethodConfig):
    """Settings of Decouple; the defaults are those of its released code."""

    name: str = "decouple"
    dims: int = 128  # of the vectors in the memory bank
    negatives: int = 4096  # K, sampled uniformly from the data set for each image, with replacement
    temperature: float = 0.07  # T, divides cosines; about 1 / ln(N / G) suits N images in groups of G similar ones
    bank_momentum: float = 0.5  # weight of the old vector when an image's entry is updated
    pu_part: float = 0.0  # fraction of the run that trains RotNets for the weights of rotated images; 0: no weights
    weighted_part: float = 0.12  # fraction at the end that uses the weights; 35 of 245 epochs with pu_part 1 / 6
    gamma: float = 2.0  # weights are 1 - p^gamma

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dims", "negatives"):
            require(getattr(self, name) >= 1, f"method.{name}", getattr(self, name), "at least 1")
        valid = self.temperature >= 0.02
        require(valid, "method.temperature", self.temperature, "at least 0.02, so that exp(1 / T) is finite")
        require(0 <= self.bank_momentum < 1, "method.bank_momentum", self.bank_momentum, "a fraction in [0, 1)")
        require(self.pu_part >= 0, "method.pu_part", self.pu_part, "a fraction of the run, 0 or more")
        require(self.weighted_part > 0, "method.weighted_part", self.weighted_part, "a fraction of the run above 0")
        total = self.pu_part + self.weighted_part
        require(total < 1, "method.pu_part + weighted_part", total, "fractions of the run whose sum is below 1")
        require(self.gamma > 0, "method.gamma", self.gamma, "a positive exponent")

    def check(self, config: Config) -> None:
        """Check that the views are the four rotations."""
        require_rotations(config)


@register("decouple")
class Decouple(Method):
    """Rotation prediction and instance discrimination, each on one half of the last layer.

    - loss_transform: cross-entropy of a linear classifier of the rotation, on the first half.
    - loss_mean: mean squared error between the second half of each view and its mean over the four views of an image.
    - loss_instance: noise-contrastive estimation of that mean, projected onto the unit sphere, against the vectors of K
      random images in a memory bank (Wu et al., CVPR 2018).

    The rotation of some images is ambiguous (a flower from above). In the last part of the run, a rotated image has
    the weight 1 - p^gamma, where p is the probability that it is upright according to a RotNet that was trained on
    other images (positive-unlabeled learning: unrotated images are upright, rotated ones may look upright). If
    `pu_part` > 0, the run has three stages with a learning-rate schedule each:

    1. Two RotNets train on one half of the images each; nothing else trains. At the end, each predicts the rotation of
       the images of the other half, uncropped, under all four rotations.
    2. Decouple trains with equal weights.
    3. Decouple trains with these weights (`weighted_part`).

    Departures from the original: training of the RotNets is part of the run; the last stage starts with the full
    learning rate instead of a hundredth of it; as for RotNet, backbone, optimizer and views are those of all methods
    here; `views.shared_crop` restores the shared crop.

    Args:
        config: config of the run; `config.method` holds Decouple's settings.
        images: N, the number of images in the data set.
        classes: unused.

    Raises:
        CodialError: there are no images.
    """

    settings = DecoupleConfig

    upright: Tensor

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, DecoupleConfig)
        if images < 1:
            raise CodialError(
                f"Decouple keeps a vector for each image of the data set; got {images} images, expected 1 or more."
                " Pass their number to `methods.build`."
            )
        self.options, self.transforms = options, config.views.transforms
        rotations = len(self.transforms)
        self.backbone = build_backbone(config)
        half = self.backbone.feature_dim // 2
        self.classifier = nn.Linear(half, rotations)
        self.projection = nn.Linear(half, options.dims)
        self.bank = MemoryBank(images, options.dims, options.bank_momentum)
        # Which half of the images each belongs to, [N] 0 or 1 on the CPU.
        self.fold = torch.randperm(images, generator=torch.Generator().manual_seed(config.seed)) % 2
        self.rotnets = nn.ModuleList(RotNet(config) for _ in range(2 if options.pu_part else 0))
        # p [N, 4], by the RotNet of the other half; 0 until it is computed.
        self.register_buffer("upright", torch.zeros(images, rotations) if options.pu_part else None)

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the published settings under the paper's recipe, else a temperature that suits fewer images."""
        if recipe.name != "paper":
            temperature = 0.4 if recipe.name == "photos" else 0.2
            return recipe.with_primary(ROTATIONS).config(DecoupleConfig(temperature=temperature))
        recipe = recipe.with_one_crop().with_primary(ROTATIONS)
        train = replace(recipe.train, epochs=recipe.train.epochs * 6 // 5)  # additional epochs for the RotNets
        return replace(recipe, train=train).config(DecoupleConfig(pu_part=1 / 6))

    def stages(self) -> tuple[float, ...]:
        """Return the fractions of RotNets, unweighted and weighted training; one stage if `pu_part` is 0."""
        rotnets, weighted = self.options.pu_part, self.options.weighted_part
        return (rotnets, 1 - rotnets - weighted, weighted) if rotnets else (1.0,)

    def begin_epoch(self, images: Dataset, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Compute the probabilities of upright images once the RotNets are trained, unless a checkpoint had them."""
        if stage > 0 and not self.upright.any():
            self.upright.copy_(self.upright_probabilities(images))

    @torch.no_grad()
    def upright_probabilities(self, images: Dataset) -> Tensor:
        """Return p of each uncropped image under each rotation, by the RotNet not trained on it, [N, 4] float32."""
        probabilities = torch.empty_like(self.upright)
        for half, rotnet in enumerate(self.rotnets.eval()):
            assert isinstance(rotnet, RotNet)
            indices = (self.fold != half).nonzero().squeeze(1)
            batches = uncropped_batches(images, self.backbone.size, probabilities.device, indices)
            parts = [_rotation_logits(rotnet, batch, probabilities.shape[1]) for batch in batches]
            if parts:
                upright = torch.cat(parts).float().softmax(2)[..., 0]
                probabilities[to_device(indices, probabilities.device)] = upright
        return probabilities

    def terms(self, batch: Batch) -> Terms:
        """Return loss, loss_transform, loss_mean, loss_instance and pretext_accuracy.

        With RotNets there is also rotation_weight, the mean weight of the views; while they train, there are only loss
        and rotnet_accuracy, the accuracy of each on its half.

        Raises:
            CodialError: there are RotNets and several processes.
        """
        if self.rotnets:
            require_one_process(batch, "Decouple trains its RotNets", "weights", ", or set method.pu_part to 0")
            if batch.stage == 0:
                return self._rotnet_terms(batch)
        labels = batch.views.labels
        rotation_half, instance_half = self.backbone(batch.views.images.flatten(0, 1)).chunk(2, dim=1)  # [B * 4, F / 2]
        logits = self.classifier(rotation_half).float()
        weights = self.weights(batch)
        transform = (weights.flatten() * cross_entropy(logits, labels.flatten(), reduction="none")).mean()
        features = instance_half.float().view(*labels.shape, -1)  # [B, 4, F / 2]
        mean = features.mean(1)
        distance = mse_loss(features, mean.detach().unsqueeze(1).expand_as(features))
        instance = self._instance_loss(normalize(self.projection(mean).float()), batch)
        terms: Terms = {"loss": transform + distance + instance, "loss_transform": transform}
        terms |= {"loss_mean": distance, "loss_instance": instance}
        if self.rotnets:
            terms["rotation_weight"] = weights.mean()
        return terms | {"pretext_accuracy": accuracy(logits, labels.flatten())}

    def confusion(self, batch: Batch) -> ConfusionMatrix:
        """Return the confusion matrix of the rotations, in every stage that of the first half."""
        rotation_half, _ = self.backbone(batch.views.images.flatten(0, 1)).chunk(2, dim=1)
        return confusion_matrix(self.transforms, self.classifier(rotation_half), batch.views.labels.flatten())

    def weights(self, batch: Batch) -> Tensor:
        """Return the weight of each view, [B, 4] float32: 1 - p^gamma if rotated in the last stage, else 1."""
        labels = batch.views.labels
        if batch.stage < 2:
            return torch.ones_like(labels, dtype=torch.float32)
        upright = self.upright[to_device(batch.indices, labels.device)].gather(1, labels)
        return torch.where(labels > 0, 1 - upright**self.options.gamma, 1.0)

    def _rotnet_terms(self, batch: Batch) -> Terms:
        """Return the mean loss and accuracy over all views, each by the RotNet of its half."""
        loss: Tensor | float = torch.zeros(())
        correct: Tensor | float = torch.zeros(())
        for half, rotnet in enumerate(self.rotnets):
            assert isinstance(rotnet, RotNet)
            rows = (self.fold[batch.indices] == half).nonzero().squeeze(1)
            if len(rows):
                terms = rotnet.terms(_select(batch, rows))
                share = 1 / len(batch.indices)
                loss = loss + terms["loss"] * len(rows) * share
                correct = correct + terms["pretext_accuracy"] * len(rows) * share
        return {"loss": loss, "rotnet_accuracy": correct}

    def _instance_loss(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Return the contrastive loss of unit vectors [B, D] float32 against the bank, then update the bank."""
        own = to_device(batch.indices, vectors.device)
        negatives = batch.rng.integers(0, len(self.bank.memory), self.options.negatives)
        entries = torch.cat((own.unsqueeze(1), negatives), 1)
        loss = self.bank.nce(self.bank.scores(vectors, entries, self.options.temperature), batch.rng.processes)
        if self.training:
            self.bank.update(own, vectors, batch.rng.processes)
        return loss


def _rotation_logits(rotnet: RotNet, images: Tensor, rotations: int) -> Tensor:
    """Return the logits of images [B, 3, S, S] under each rotation, [B, rotations, 4]."""
    logits = [rotnet.classifier(rotnet.backbone(rotate(images, rotation))) for rotation in range(rotations)]
    return torch.stack(logits, 1)


def _select(batch: Batch, rows: Tensor) -> Batch:
    """Return a batch with the views of some images; its other fields are those of the complete batch."""
    views = batch.views
    rows = to_device(rows, views.images.device)
    return batch._replace(views=views._replace(images=views.images[rows], labels=views.labels[rows]))
