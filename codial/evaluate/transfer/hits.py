"""Average precision of detections, as PASCAL VOC judges them (Everingham et al., IJCV 2010, section 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codial.data.voc import Annotated
from codial.errors import CodialError
from codial.evaluate.precision import average_precision
from codial.evaluate.transfer.boxes import overlaps

OVERLAP = 0.5  # of a detection and an object, intersection over union, from which it is found


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in a picture.

    Attributes:
        boxes: [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.
        scores: [n] float32.
        labels: [n] int64, the class.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def hits(found: Sequence[Detections], truth: Sequence[Annotated], label: int) -> tuple[Tensor, Tensor, int]:
    """Tell which detections of a class are right.

    In each picture, from the highest score down, a detection is held against the object that it overlaps most. It is
    right where they overlap by half or more and the object has not been found before. Where that object is difficult
    it counts neither way. Anything else is wrong, a second detection of an object, too.

    Args:
        found: detections, one entry a picture.
        truth: the pictures' objects, in the same order.
        label: the class.

    Returns:
        The scores [n] of the detections that count, whether each is right [n] bool, and the number of objects that are
        not difficult.

    Raises:
        CodialError: there are not as many entries as pictures.
    """
    if len(found) != len(truth):
        raise CodialError(f"Detections of {len(found)} pictures cannot be held against {len(truth)} pictures.")
    parts = [_in_one(each, item, label) for each, item in zip(found, truth, strict=True)]
    total = sum(int(((item.labels == label) & ~item.difficult).sum()) for item in truth)
    scores, right = (torch.cat(column) for column in zip(*parts, strict=True))
    return scores, right, total


def precisions(
    found: Sequence[Detections], truth: Sequence[Annotated], classes: Sequence[str], form: str = "11-point"
) -> dict[str, float | None]:
    """Return average precisions in percent by class; None for a class of which there is no object to be found.

    Args:
        found: detections, one entry a picture.
        truth: the pictures' objects, in the same order.
        classes: names, in the order of the labels.
        form: "11-point", the mean of the best precision at 11 recalls (VOC2007), or "area", under the precision made
            to fall with recall (VOC2010 and later).

    Raises:
        CodialError: there are not as many entries as pictures, or the form is unknown.
    """
    if form not in ("11-point", "area"):
        raise CodialError(f"form is {form!r}; expected 11-point or area.")
    values: dict[str, float | None] = {}
    for label, name in enumerate(classes):
        scores, right, total = hits(found, truth, label)
        if form == "area":
            values[name] = 100 * area(scores, right, total) if total else None
        else:
            values[name] = 100 * average_precision(scores, right, form, total=total) if total else None
    return values


def area(scores: Tensor, right: Tensor, total: int) -> float:
    """Return the area under the best precision at each recall or beyond, in [0, 1]; equal scores are one step.

    Args:
        scores: [n].
        right: [n] bool.
        total: how many there are to be found, 1 or more.
    """
    if not len(scores):
        return 0.0
    ranked, order = scores.double().sort(descending=True)
    last = torch.cat((ranked.diff() != 0, torch.ones_like(ranked[:1], dtype=torch.bool))).nonzero()[:, 0]
    found = right[order].double().cumsum(0)[last]
    best = (found / (last + 1)).flip(0).cummax(0).values.flip(0)
    return float((best * found.diff(prepend=found.new_zeros(1))).sum()) / total


def _in_one(each: Detections, item: Annotated, label: int) -> tuple[Tensor, Tensor]:
    """Return scores and verdicts of the detections that count in one picture, the highest score first."""
    chosen = each.labels == label
    scores, order = each.scores[chosen].sort(descending=True, stable=True)
    boxes, same = each.boxes[chosen][order], item.labels == label
    if not same.any():
        return scores, torch.zeros(len(scores), dtype=torch.bool)
    most, nearest = overlaps(boxes, item.boxes[same]).max(1)
    difficult, taken = item.difficult[same].tolist(), set()
    counts, right = [], []
    for overlap, place in zip(most.tolist(), nearest.tolist(), strict=True):
        meets = overlap >= OVERLAP
        counts.append(not (meets and difficult[place]))
        right.append(meets and place not in taken)
        taken |= {place} if meets else set()
    kept = torch.tensor(counts, dtype=torch.bool)
    return scores[kept], torch.tensor(right, dtype=torch.bool)[kept]
