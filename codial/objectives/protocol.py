"""What the trainer asks of a system: the only thing it knows about any of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codial.config import TrainConfig
from codial.data import Pictures
from codial.models import Trunk
from codial.ranks import Ranks
from codial.views import Views


class Draws:
    """A step's random numbers, for whichever of its pictures this process has.

    Numbers are drawn for the whole batch, picture after picture, so that they are the same however many processes
    share it.

    Args:
        generator: this step's own, on the views' device.
        pictures: B, of this process.
        ranks: the processes that share the batch.
    """

    def __init__(self, generator: torch.Generator, pictures: int, ranks: Ranks = Ranks()) -> None:  # noqa: B008
        self.generator, self.ranks, self.whole = generator, ranks, pictures * ranks.size
        self.rows = ranks.rows(self.whole)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers for each picture, [B, *shape] float32."""
        drawn = torch.randn((self.whole, *shape), generator=self.generator, device=self.generator.device)
        return drawn[self.rows]

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return whole numbers in [low, high) for each picture, [B, *shape] int64."""
        drawn = torch.randint(low, high, (self.whole, *shape), generator=self.generator, device=self.generator.device)
        return drawn[self.rows]

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers uniform in [0, 1) for each picture, [B, *shape] float32."""
        drawn = torch.rand((self.whole, *shape), generator=self.generator, device=self.generator.device)
        return drawn[self.rows]

    def permutation(self, count: int) -> Tensor:
        """Return 0..count - 1 in random order, the same for all processes."""
        return torch.randperm(count, generator=self.generator, device=self.generator.device)


class Confusion(NamedTuple):
    """How often each class was taken for each."""

    classes: tuple[str, ...]
    counts: Tensor  # [C, C] int64; the row says what it was, the column what it was taken for


class Batch(NamedTuple):
    """What a system sees in one step: this process's B pictures."""

    views: Views
    picture_labels: Tensor  # [B] int64, -1 where unknown; only supervised learning reads them
    progress: float  # part of the run that is over, in [0, 1)
    draws: Draws
    indices: Tensor  # [B] int64, places in the set, on the CPU
    stage: int = 0  # of the system's `stages`


Terms = dict[str, Tensor | float]


class Objective(nn.Module, ABC):
    """A system: owns a trunk and whatever else it trains, and turns a batch into a loss.

    What it has learnt or counted lives in parameters and buffers, and so in every checkpoint.

    Attributes:
        trunk: what probes read.
        classifier: of systems that classify views; it reads the first numbers of fc7, or all.
        transforms: the classifier's classes where these are transforms, in the names of `views.primary`; else none.
    """

    trunk: Trunk
    classifier: nn.Linear
    transforms: tuple[str, ...] = ()

    @abstractmethod
    def terms(self, batch: Batch) -> Terms:
        """Return the scalar tensor to minimise as `loss`, and its terms and accuracies by their names in logs."""

    def optimisers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return who minimises which term: all parameters the loss, unless a system has opponents.

        Every group's rate follows the schedule, but for those that have a true `constant`.
        In a stage whose terms lack an optimiser's, its parameters stay as they are; the loss is always there.
        """
        return {"loss": adamw(self, train)}

    def stages(self) -> tuple[float, ...]:
        """Return the stages' shares of the run, in their order, with sum 1; one stage, unless a system has several.

        A stage has at least one whole epoch, and the learning rate's schedule runs anew in each.
        """
        return (1.0,)

    def begin_epoch(self, images: Pictures, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Look at all pictures before an epoch, where a system does.

        Args:
            images: the whole set.
            progress: part of the run that is over.
            generator: this epoch's own, on the CPU.
            stage: that the epoch belongs to.
        """

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Return an epoch's pictures in their order, [count] int64 on the CPU: each once, unless a system differs."""
        return torch.randperm(count, generator=generator)

    def confusion(self, batch: Batch) -> Confusion | None:
        """Return what the pretext's classifier takes each class for, in evaluation mode; None without fixed classes."""
        return None

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the system makes of its views before the trunk looks, by name, [B, 3, S, S] float in [0, 1].

        Nothing where the trunk looks at the views as they are.
        """
        return {}


def confused(classes: Sequence[str], logits: Tensor, labels: Tensor) -> Confusion:
    """Count what each class was taken for.

    Args:
        classes: C names.
        logits: [N, C].
        labels: [N] int64 in [0, C).
    """
    cells = labels * len(classes) + logits.argmax(1)
    return Confusion(tuple(classes), torch.bincount(cells, minlength=len(classes) ** 2).view(len(classes), -1))


def adamw(module: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, but neither batch norm nor biases."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    free = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, fused=True)
