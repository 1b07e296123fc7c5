"""VOC2007 classification: logistic regressions by L-BFGS on frozen features, one a class (section 4 of the paper).

A picture has several classes, so "multinomial" in the paper can only mean one logistic regression against the rest for
each. Their strength C is not published: here it is chosen on the validation pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import softplus
from tqdm import tqdm

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate.cached import standardise
from codial.evaluate.features import taps, trunk_of
from codial.evaluate.precision import average_precision
from codial.evaluate.transfer.report import TransferReport, mean_of
from codial.models import TAPS, Trunk
from codial.runs import Run

NAME = "transfer-voc2007-classification"
_STEPS = 500  # of L-BFGS at most; it stops earlier, when the gradient is next to nothing


@dataclass(frozen=True)
class ClassificationConfig:
    """The protocol."""

    layer: str = "conv5"
    dims: int = 9000  # adaptive average pooling to about this many numbers
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)  # candidates for C, for vectors of length 1

    def __post_init__(self) -> None:
        if self.layer not in TAPS:
            raise CodialError(f"layer is {self.layer!r}; expected one of {', '.join(TAPS)}.")
        if self.dims < 1 or not self.strengths or min(self.strengths) <= 0:
            raise CodialError(f"{self} needs dims of at least 1, and strengths (of C) above 0.")

    def describe(self, strength: float) -> str:
        """Return the protocol in a sentence."""
        return (
            f"frozen {self.layer} of central squares, avg-pooled to about {self.dims:,} dimensions, centred and scaled"
            f" per channel, vectors of length 1 in mean square; one logistic regression a class by L-BFGS, L2 penalty,"
            f" C {strength:g} of {', '.join(f'{c:g}' for c in self.strengths)} (the best on val after learning from"
            " train), then learnt from both; difficult ones neither learnt nor judged; average precision as the area"
            " under the curve"
        )


@dataclass(frozen=True)
class Classified:
    """What the classifiers are worth.

    Attributes:
        report: average precisions as areas, in percent.
        eleven: the same by VOC2007's rule, the mean of the best precision at 11 recalls, in percent.
        strength: the C that was chosen.
        scores: [N, classes] float32 logits of the test pictures.
    """

    report: TransferReport
    eleven: dict[str, float | None]
    strength: float
    scores: Tensor = field(repr=False)


def classify(
    source: Run | Trunk,
    train: Pictures,
    val: Pictures,
    test: Pictures,
    config: ClassificationConfig | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> Classified:
    """Learn 20 (or however many) classes from frozen features; the report of a run is also written to its folder.

    Nothing is drawn at random: there is no seed.

    Args:
        source: a run or a trunk.
        train: pictures with tags that the classifiers learn from.
        val: more of them, on which C is chosen first.
        test: those that the classifiers are judged on.
        config: the protocol.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: a set has no tags, or their classes differ.
    """
    config = config or ClassificationConfig()
    tags = _tags(train, val, test)
    trunk = trunk_of(source, device)
    found = [taps(trunk, each, (config.layer,), dims=config.dims, progress=progress) for each in (train, val, test)]
    parts = standardise(*(each.pop(config.layer) for each in found))
    known, known_tags, place = torch.cat(parts[:2]), torch.cat(tags[:2]), parts[0].device
    worth = []
    for strength in tqdm(config.strengths, desc="C", delay=2, disable=not progress, leave=False):
        weight, bias = fit(parts[0], tags[0].to(place), strength)
        worth.append(mean_of(precisions(torch.addmm(bias, parts[1], weight.T), tags[1], val.classes)))
    strength = config.strengths[worth.index(max(worth))]
    weight, bias = fit(known, known_tags.to(place), strength)
    scores = torch.addmm(bias, parts[2], weight.T).cpu()
    areas = precisions(scores, tags[2], test.classes)
    report = TransferReport(
        metric="mAP",
        value=mean_of(areas),
        classes=areas,
        train=f"{train.describe()} and {val.describe()}",
        test=test.describe(),
        protocol=config.describe(strength),
        seed=0,
    )
    eleven = precisions(scores, tags[2], test.classes, "11-point")
    if isinstance(source, Run):
        report.save(source, NAME, value_11_point=mean_of(eleven), classes_11_point=eleven)
    return Classified(report, eleven, strength, scores)


def fit(vectors: Tensor, tags: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Fit one logistic regression a class, all at once; their sum has its least value where each has.

    The objective is scikit-learn's: half the squared weights, and C times the sum of the logistic losses; biases are
    free.

    Args:
        vectors: [N, F] float32.
        tags: [N, C] int8: 1 yes, 0 no, -1 left out.
        strength: C.

    Returns:
        weights [C, F] and biases [C].
    """
    vectors = vectors.float()
    counted, signs = (tags >= 0).float(), 2.0 * (tags > 0) - 1.0
    weight = vectors.new_zeros(tags.shape[1], vectors.shape[1], requires_grad=True)
    bias = vectors.new_zeros(tags.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        (weight, bias), max_iter=_STEPS, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        losses = counted * softplus(-signs * torch.addmm(bias, vectors, weight.T))
        value = (losses.sum() + weight.square().sum() / (2 * strength)) / len(vectors)
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach(), bias.detach()


def precisions(scores: Tensor, tags: Tensor, classes: Sequence[str], form: str = "area") -> dict[str, float | None]:
    """Return average precisions in percent by class, pictures of tag -1 left out; None for a class without a picture.

    Args:
        scores: [N, C], higher where the class is likelier.
        tags: [N, C] int8.
        classes: C names.
        form: "area" or "11-point".
    """
    found: dict[str, float | None] = {}
    for name, score, tag in zip(classes, scores.cpu().T, tags.T, strict=True):
        judged = tag >= 0
        positives = tag[judged] > 0
        found[name] = 100 * average_precision(score[judged], positives, form) if positives.any() else None
    return found


def _tags(*sets: Pictures) -> list[Tensor]:
    for pictures in sets:
        if pictures.tags is None:
            raise CodialError(f"{pictures} has no tags; classification needs them, as voc2007 has.")
        if pictures.classes != sets[0].classes:
            raise CodialError(f"The classes differ: {sets[0].classes} in {sets[0].name}, {pictures.classes} here.")
    return [pictures.tags for pictures in sets if pictures.tags is not None]
