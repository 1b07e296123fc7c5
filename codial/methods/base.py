"""The interface between methods and the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from codial.config import ROTATIONS, Config, MethodConfig, Recipe, TrainConfig
from codial.config.registry import BACKBONE
from codial.config.validation import require
from codial.data import Dataset
from codial.methods.variants import Variant
from codial.models import Backbone
from codial.transforms import Views
from codial.utils.batch_generator import BatchGenerator


class ConfusionMatrix(NamedTuple):
    """Predicted and true classes of the pretext task."""

    classes: tuple[str, ...]
    counts: Tensor  # [C, C] int64; rows are true classes, columns are predictions


class Batch(NamedTuple):
    """Input of one training step: the B images of this process."""

    views: Views
    image_labels: Tensor  # [B] int64, -1 where unknown; only supervised learning uses them
    progress: float  # fraction of the run that is done, in [0, 1)
    rng: BatchGenerator
    indices: Tensor  # [B] int64, indices in the data set, on the CPU
    stage: int = 0  # index into the method's `stages`


Terms = dict[str, Tensor | float]


class Method(nn.Module, ABC):
    """A self-supervised method: a backbone, all other modules it trains, and the loss of a batch.

    All state that training changes is kept in parameters and buffers, and is therefore part of every checkpoint.

    Args:
        config: config of the run; `config.method` holds the settings of the method.
        images: number of images in the data set, for methods that keep something per image.
        classes: number of labels, for methods that train on labels; 0 if some images have none.

    Attributes:
        settings: class of the method's settings, a frozen dataclass derived from `MethodConfig`.
        variants: named changes of the method's config; METHOD-VARIANT/RECIPE is a preset.
        backbone: network whose features are evaluated.
        classifier: pretext classifier of methods that classify views; it reads the first features, or all.
        transforms: classes of the classifier if these are transforms, named as in `views.transforms`; else empty.
    """

    settings: ClassVar[type[MethodConfig]]
    variants: ClassVar[Mapping[str, Variant]] = {}

    backbone: Backbone
    classifier: nn.Linear
    transforms: tuple[str, ...] = ()

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__()

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the method's config under a recipe; override it to change views, duration or settings."""
        return recipe.config(cls.settings())

    @abstractmethod
    def terms(self, batch: Batch) -> Terms:
        """Return the scalar to minimize as `loss`, and further losses and metrics by their name in the history."""

    def optimizers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return an optimizer for each term that is minimized; by default one that minimizes `loss`.

        The learning rate of a parameter group follows the schedule unless the group has a true value `constant`.
        While `terms` lacks an optimizer's term, its parameters do not change. `loss` must always be present.
        """
        return {"loss": adamw(self, train)}

    def stages(self) -> tuple[float, ...]:
        """Return the fraction of the run that each training stage takes; by default there is one stage.

        A stage lasts at least one epoch, and the learning-rate schedule restarts in each.
        """
        return (1.0,)

    def begin_epoch(self, images: Dataset, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Prepare an epoch from all training images; by default do nothing.

        Args:
            images: the training set.
            progress: fraction of the run that is done.
            generator: random generator of this epoch, on the CPU.
            stage: stage of the epoch.
        """

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the image indices of an epoch, [count] int64 on the CPU; by default a random permutation."""
        return torch.randperm(count, generator=generator)

    def confusion(self, batch: Batch) -> ConfusionMatrix | None:
        """Return the pretext's confusion matrix in evaluation mode; None for tasks without fixed classes."""
        return None

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the images that the networks get if these are not the views, [B, 3, S, S] float in [0, 1] by name."""
        return {}


def confusion_matrix(classes: Sequence[str], logits: Tensor, labels: Tensor) -> ConfusionMatrix:
    """Return the confusion matrix of logits [N, C] and true labels [N] int64; `classes` are C names."""
    cells = labels * len(classes) + logits.argmax(1)
    counts = torch.bincount(cells, minlength=len(classes) ** 2)
    return ConfusionMatrix(tuple(classes), counts.view(len(classes), -1))


@torch.no_grad()
def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the fraction of correct predictions of logits [N, C] for labels [N] int64, a float32 scalar."""
    return (logits.argmax(1) == labels).float().mean()


def adamw(module: nn.Module, train: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW with weight decay on weight matrices and kernels, but not on batch norm and biases."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, fused=True)


def require_one_view(config: Config) -> None:
    """Check that an image has a single upright view.

    Raises:
        CodialError: `views.primary` has other transforms.
    """
    primary, name = config.views.primary, config.method.name
    require(primary == ("rot0",), "views.primary", primary, f"rot0 alone: {name} uses one upright view per image")


def require_alexnet(config: Config, reason: str) -> None:
    """Check that the backbone is AlexNet.

    Args:
        config: the config.
        reason: why the method needs it, such as "CMC has two halves of it".

    Raises:
        CodialError: `model.backbone` is another.
    """
    require(config.model.backbone == BACKBONE, "model.backbone", config.model.backbone, f"{BACKBONE}: {reason}")


def require_rotations(config: Config) -> None:
    """Check that the views of an image are its four rotations.

    Raises:
        CodialError: `views.primary` has other transforms.
    """
    primary, name = config.views.primary, config.method.name
    require(primary == ROTATIONS, "views.primary", primary, f"{', '.join(ROTATIONS)}, the four classes of {name}")
