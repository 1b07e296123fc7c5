"""Average precision: how well scores rank the pictures (or boxes) that have a tag above those that have not."""

import math

import torch
from torch import Tensor

from codial.errors import CodialError

FORMS = ("area", "11-point")


def average_precision(scores: Tensor, positives: Tensor, form: str = "area", *, total: int | None = None) -> float:
    """Return the average precision of a ranking, in [0, 1].

    Equal scores are one step of the curve, so that the order of the rows never matters.

    Args:
        scores: [N] float, higher for what is more surely positive.
        positives: [N] bool.
        form: "area" under the curve of precision over recall, each step of recall times the precision at its end
            (scikit-learn's average_precision_score); "11-point", the mean over recalls 0, 0.1, ..., 1 of the best
            precision at that recall or beyond (VOC 2007, Everingham et al. 2010).
        total: number of positives in all, where some got no score, as objects that no detection met.

    Returns:
        NaN where there is no positive, for then there is nothing to find.

    Raises:
        CodialError: shapes differ, a score is not finite, the form is unknown or the total is too small.
    """
    _check(scores, positives, form)
    found = int(positives.sum())
    total = found if total is None else total
    if total < found:
        raise CodialError(f"total is {total}; expected at least the {found} positives that have scores.")
    if total == 0:
        return math.nan
    if not len(scores):
        return 0.0
    ranked, order = scores.double().sort(descending=True)
    last = torch.cat((ranked.diff() != 0, torch.ones_like(ranked[:1], dtype=torch.bool))).nonzero().squeeze(1)
    hits = positives[order].double().cumsum(0)[last]
    precision, recall = hits / (last + 1), hits / total
    if form == "area":
        return float((precision * recall.diff(prepend=recall.new_zeros(1))).sum())
    best = precision.flip(0).cummax(0).values.flip(0)  # at this recall or beyond
    # In whole numbers: a recall of 3 in 10 has reached 0.3, however it is rounded.
    reached = 10 * hits >= torch.arange(11, device=hits.device).unsqueeze(1) * total  # [11, n], once true always true
    first = reached.to(torch.uint8).argmax(1)
    return float(torch.where(reached.any(1), best[first], 0.0).mean())


def mean_average_precision(scores: Tensor, tags: Tensor, form: str = "area") -> float:
    """Return the mean average precision over tags in percent; tags that no judged picture has are left out.

    Args:
        scores: [N, C] float.
        tags: [N, C] 1 yes, 0 no, -1 not to be judged.
        form: of `average_precision`.

    Raises:
        CodialError: no picture has any tag, or the arguments do not fit.
    """
    judged = tags >= 0
    columns = zip(scores.unbind(1), tags.unbind(1), judged.unbind(1), strict=True)
    values = [average_precision(s[kept], t[kept] == 1, form) for s, t, kept in columns]
    values = [value for value in values if not math.isnan(value)]
    if not values:
        raise CodialError(f"None of {len(tags)} pictures has a tag; there is no precision to average.")
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
        raise CodialError("scores hold NaN or infinity; they cannot be ranked.")
