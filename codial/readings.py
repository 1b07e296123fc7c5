"""What the paper leaves open, and the readings that a study compares.

Each is CODIAL's preset with one thing changed; strong hues are judged with either part of the loss alone, too. The
head's three readings and the weights of the loss are ablations already (`codial.ablations`); here are only the words
for them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from codial.ablations import with_objective, with_views
from codial.config import Config


class Reading(NamedTuple):
    """One answer to an open question."""

    question: str
    says: str  # the answer in words
    change: Callable[[Config], Config]  # of CODIAL's settings


_EARLY: dict[str, Any] = {"beta_hold": 0.053, "beta_ramp": 0.107}  # the ramp of CODIAL's ancestor, as parts of a run
_BETA = "Where does beta end, and when?"
_SKL = "Is the divergence summed or averaged over z?"
_Z = "How many dimensions has z?"
_NEGATIVES = "Which pairs are the strangers?"
_CROP = "How small may a crop be?"
_COLOUR = "How strong are the colours?"
_RATE = "Which learning rate?"


def _with_rate(base: Config, factor: float) -> Config:
    return replace(base, train=replace(base.train, lr=base.train.lr * factor))


def _with_hues(base: Config, **changes: Any) -> Config:
    return with_objective(with_views(base, hue=0.5), **changes)


READINGS = {
    "beta0": Reading(_BETA, "1e-6, as good as none", partial(with_objective, beta_end=1e-6)),
    "beta1": Reading(_BETA, "1, over the whole run", partial(with_objective, beta_end=1.0)),
    "early": Reading(_BETA, "0.01, after a sixth of it", partial(with_objective, **_EARLY)),
    "early1": Reading(_BETA, "1, after a sixth of it", partial(with_objective, beta_end=1.0, **_EARLY)),
    "mean1": Reading(_SKL, "averaged, beta to 1", partial(with_objective, skl_reduce="mean", beta_end=1.0)),
    "z16": Reading(_Z, "16", partial(with_objective, z_dim=16)),
    "z256": Reading(_Z, "256", partial(with_objective, z_dim=256)),
    "any": Reading(_NEGATIVES, "another picture's any view", partial(with_objective, negatives="random")),
    "roll": Reading(_NEGATIVES, "the neighbour's in the batch", partial(with_objective, negatives="roll")),
    "crop8": Reading(_CROP, "8 % of it, as the paper", partial(with_views, crop_area=(0.08, 1.0))),
    "crop50": Reading(_CROP, "50 %", partial(with_views, crop_area=(0.5, 1.0))),
    "hue50": Reading(_COLOUR, "as the paper, hue 0.5", partial(with_views, hue=0.5)),
    "cls-hue50": Reading(_COLOUR, "hue 0.5, discrimination alone", partial(_with_hues, mi_weight=0.0)),
    "mi-hue50": Reading(_COLOUR, "hue 0.5, alignment alone", partial(_with_hues, cls_weight=0.0)),
    "grey50": Reading(_COLOUR, "every second view grey", partial(with_views, grey=0.5)),
    "mild": Reading(
        _COLOUR, "half as strong", partial(with_views, brightness=0.25, contrast=0.25, saturation=0.25, hue=0.05)
    ),
    "slow": Reading(_RATE, "half", partial(_with_rate, factor=0.5)),
    "fast": Reading(_RATE, "double", partial(_with_rate, factor=2.0)),
}

# CODIAL's own answers, at the scales that are studied.
OWN = {
    "What does each part of the loss add?": "discrimination and alignment",
    "What do classifier and stochastic head read?": "all of fc7, by layers",
    _BETA: "0.01, over the whole run",
    _SKL: "summed, beta to 0.01",
    _Z: "64",
    _NEGATIVES: "another picture's same view",
    _CROP: "20 % of the picture",
    _COLOUR: "as the paper, but hue 0.1",
    _RATE: "that of the preset",
}
_ABLATED = {
    "cls": ("What does each part of the loss add?", "discrimination alone"),
    "mi": ("What does each part of the loss add?", "alignment alone"),
    "split": ("What do classifier and stochastic head read?", "all of fc7, as [mu | sigma]"),
    "decoupled": ("What do classifier and stochastic head read?", "half of fc7 each"),
}


def questions() -> dict[str, dict[str, str]]:
    """Return for each open question its answers in words by the system that stands for them, CODIAL's own first."""
    found = {question: {"codial": own} for question, own in OWN.items()}
    for name, (question, says) in _ABLATED.items():
        found[question][f"codial-{name}"] = says
    for name, reading in READINGS.items():
        found[reading.question][f"codial-{name}"] = reading.says
    return found
