"""VOC2007 classification: one logistic regression per class by L-BFGS on frozen features (section 4 of the paper).

An image has several classes, so the paper's "multinomial" can only mean one binary regression per class. Their inverse
regularization strength C is not published; here it is selected on the validation images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.features import backbone_of, layer_features, map_layers
from codial.evaluate.metrics.average_precision import average_precision
from codial.evaluate.probes.cached import standardize
from codial.evaluate.transfer.report import TransferReport, mean_over_classes
from codial.models import Backbone
from codial.runs.run import Run
from codial.utils.progress import progress_bar

NAME = "transfer-voc2007-classification"
_STEPS = 500  # of L-BFGS at most; it usually stops earlier, at a small gradient


@dataclass(frozen=True)
class ClassificationConfig:
    """The classification protocol."""

    layer: str = ""  # the last layer with maps by default
    dims: int = 9000  # adaptive average pooling to about this many dimensions
    c_values: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)  # candidates for C, for vectors of length 1

    def __post_init__(self) -> None:
        if self.dims < 1 or not self.c_values or min(self.c_values) <= 0:
            raise CodialError(f"{self}: expected dims of at least 1, and c_values above 0.")

    def describe(self, c: float) -> str:
        """Return the protocol in a sentence."""
        return (
            f"frozen {self.layer} of central squares, avg-pooled to about {self.dims:,} dimensions, centered and scaled"
            " per channel, vectors of length 1 in mean square; one logistic regression per class by L-BFGS, L2 penalty,"
            f" C {c:g} of {', '.join(f'{value:g}' for value in self.c_values)} (the best on val when trained on train),"
            " then trained on both; difficult objects ignored; average precision as the area under the curve"
        )


@dataclass(frozen=True)
class ClassificationResult:
    """Classification results.

    Attributes:
        report: average precisions as areas under the curve, in percent.
        eleven_point: 11-point average precisions (VOC2007's rule) by class, in percent.
        c: the selected C.
        scores: [N, classes] float32 logits of the test images.
    """

    report: TransferReport
    eleven_point: dict[str, float | None]
    c: float
    scores: Tensor = field(repr=False)


def classify(
    source: Run | Backbone,
    train: Dataset,
    val: Dataset,
    test: Dataset,
    config: ClassificationConfig | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> ClassificationResult:
    """Classify images by frozen features; the report of a run is also saved in its folder.

    The procedure is deterministic and has no seed.

    Args:
        source: a run or a backbone.
        train: training images with tags.
        val: validation images with tags, on which C is selected; afterwards part of the training images.
        test: test images with tags.
        config: the protocol.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: a dataset has no tags, or classes differ.
    """
    config = config or ClassificationConfig()
    train_tags, val_tags, test_tags = _tags(train, val, test)
    backbone = backbone_of(source, device)
    config = replace(config, layer=config.layer or map_layers(backbone)[-1])
    maps = [
        layer_features(backbone, each, (config.layer,), dims=config.dims, progress=progress)
        for each in (train, val, test)
    ]
    vectors = standardize(*(each.pop(config.layer) for each in maps))
    features_device = vectors[0].device
    val_precisions = []
    for c in progress_bar(config.c_values, desc="C", show=progress):
        weight, bias = fit(vectors[0], train_tags.to(features_device), c)
        val_scores = torch.addmm(bias, vectors[1], weight.T)
        val_precisions.append(mean_over_classes(class_precisions(val_scores, val_tags, val.classes)))
    best = config.c_values[val_precisions.index(max(val_precisions))]
    weight, bias = fit(torch.cat(vectors[:2]), torch.cat((train_tags, val_tags)).to(features_device), best)
    scores = torch.addmm(bias, vectors[2], weight.T).cpu()
    areas = class_precisions(scores, test_tags, test.classes)
    report = TransferReport(
        metric="mAP",
        value=mean_over_classes(areas),
        classes=areas,
        train=f"{train.describe()} and {val.describe()}",
        test=test.describe(),
        protocol=config.describe(best),
        seed=0,
    )
    eleven_point = class_precisions(scores, test_tags, test.classes, "11-point")
    if isinstance(source, Run):
        report.save(source, NAME, value_11_point=mean_over_classes(eleven_point), classes_11_point=eleven_point)
    return ClassificationResult(report, eleven_point, best, scores)


def fit(vectors: Tensor, tags: Tensor, c: float) -> tuple[Tensor, Tensor]:
    """Fit one logistic regression per class, all at once, by minimizing the sum of their objectives.

    The objective is scikit-learn's: half the squared weights, and C times the sum of the logistic losses; biases are
    not regularized.

    Args:
        vectors: [N, F] float32.
        tags: [N, C] int8: 1 yes, 0 no, -1 unknown (ignored).
        c: inverse regularization strength C.

    Returns:
        Weights [C, F] and biases [C].
    """
    vectors = vectors.float()
    counted = (tags >= 0).float()
    signs = 2.0 * (tags > 0) - 1.0
    weight = vectors.new_zeros(tags.shape[1], vectors.shape[1], requires_grad=True)
    bias = vectors.new_zeros(tags.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        (weight, bias), max_iter=_STEPS, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        losses = counted * softplus(-signs * torch.addmm(bias, vectors, weight.T))
        value = (losses.sum() + weight.square().sum() / (2 * c)) / len(vectors)
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def class_precisions(
    scores: Tensor, tags: Tensor, classes: Sequence[str], form: str = "area"
) -> dict[str, float | None]:
    """Return average precisions in percent by class; None for a class without images.

    Args:
        scores: [N, C] float.
        tags: [N, C] int8: 1 yes, 0 no, -1 unknown (ignored).
        classes: C names.
        form: as in `average_precision`.
    """
    values: dict[str, float | None] = {}
    for name, score, tag in zip(classes, scores.cpu().T, tags.T, strict=True):
        known = tag >= 0
        positives = tag[known] > 0
        values[name] = 100 * average_precision(score[known], positives, form) if positives.any() else None
    return values


def _tags(*datasets: Dataset) -> list[Tensor]:
    for images in datasets:
        if images.tags is None:
            raise CodialError(f"{images} has no tags; expected a dataset with tags, such as voc2007.")
        if images.classes != datasets[0].classes:
            raise CodialError(
                f"The classes differ: {datasets[0].classes} in {datasets[0].name}, {images.classes} in {images.name}."
            )
    return [images.tags for images in datasets if images.tags is not None]
