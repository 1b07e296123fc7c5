"""Average precision of scores for binary labels (tags of images, matches of detected boxes)."""

import math

import torch
from torch import Tensor

from codial.errors import CodialError

FORMS = ("area", "11-point", "interpolated")


def average_precision(scores: Tensor, positives: Tensor, form: str = "area", *, total: int | None = None) -> float:
    """Return the average precision of a ranking, in [0, 1].

    Equal scores are one step of the curve, so the result does not depend on the order of the rows.

    Args:
        scores: [N] float.
        positives: [N] bool.
        form: "area", the area under the precision-recall curve, each step of recall times the precision at its end
            (scikit-learn's average_precision_score); "11-point", the mean over recalls 0, 0.1, ..., 1 of the highest
            precision at that recall or above (VOC 2007, Everingham et al. 2010); "interpolated", the area under the
            highest precision at each recall or above (VOC 2010 and later).
        total: total number of positives, if some have no score (objects without a detection).

    Returns:
        NaN if there are no positives.

    Raises:
        CodialError: shapes differ, a score is not finite, the form is unknown or the total is too small.
    """
    _check(scores, positives, form)
    scored = int(positives.sum())
    total = scored if total is None else total
    if total < scored:
        raise CodialError(f"total is {total}; expected at least the {scored} positives that have scores.")
    if total == 0:
        return math.nan
    if not len(scores):
        return 0.0
    ranked, order = scores.double().sort(descending=True)
    last = torch.cat((ranked.diff() != 0, torch.ones_like(ranked[:1], dtype=torch.bool))).nonzero().squeeze(1)
    hits = positives[order].double().cumsum(0)[last]
    precision = hits / (last + 1)
    if form == "area":
        recall = hits / total
        return float((precision * recall.diff(prepend=recall.new_zeros(1))).sum())
    best = precision.flip(0).cummax(0).values.flip(0)  # at this recall or above
    if form == "interpolated":
        return float((best * hits.diff(prepend=hits.new_zeros(1))).sum()) / total
    # Integer arithmetic: a recall of 3 in 10 reaches 0.3 regardless of rounding.
    reached = 10 * hits >= torch.arange(11, device=hits.device).unsqueeze(1) * total  # [11, n], monotone in n
    first = reached.to(torch.uint8).argmax(1)
    return float(torch.where(reached.any(1), best[first], 0.0).mean())


def mean_average_precision(scores: Tensor, tags: Tensor, form: str = "area") -> float:
    """Return the mean average precision over tags in percent; tags without positives are ignored.

    Args:
        scores: [N, C] float.
        tags: [N, C] 1 yes, 0 no, -1 unknown (ignored).
        form: as in `average_precision`.

    Raises:
        CodialError: no image has any tag, or as `average_precision`.
    """
    columns = zip(scores.unbind(1), tags.unbind(1), strict=True)
    values = [average_precision(s[t >= 0], t[t >= 0] == 1, form) for s, t in columns]
    values = [value for value in values if not math.isnan(value)]
    if not values:
        raise CodialError(f"None of {len(tags)} images has a tag; expected at least one positive.")
    return 100 * sum(values) / len(values)


def _check(scores: Tensor, positives: Tensor, form: str) -> None:
    if form not in FORMS:
        raise CodialError(f"form is {form!r}; expected one of {', '.join(FORMS)}.")
    if scores.ndim != 1 or positives.shape != scores.shape or positives.dtype != torch.bool:
        raise CodialError(
            f"scores are {list(scores.shape)}, positives {positives.dtype} {list(positives.shape)}; expected [N] and"
            " torch.bool [N]."
        )
    if not bool(scores.isfinite().all()):
        raise CodialError("scores contain NaN or infinity; expected finite scores.")
