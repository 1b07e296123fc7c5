"""Average precision of detections on PASCAL VOC (Everingham et al., IJCV 2010, section 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codial.data.datasets.voc import AnnotatedImage
from codial.errors import CodialError
from codial.evaluate.metrics.average_precision import average_precision
from codial.evaluate.metrics.box_ops import box_iou

MIN_IOU = 0.5  # intersection over union of a detection and the object that it matches


@dataclass(frozen=True, eq=False)
class Detections:
    """Detected objects in an image.

    Attributes:
        boxes: [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.
        scores: [n] float32.
        labels: [n] int64, class indices.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def match_detections(
    detections: Sequence[Detections], truth: Sequence[AnnotatedImage], label: int
) -> tuple[Tensor, Tensor, int]:
    """Match detections of a class with objects.

    In each image, in descending order of scores, a detection is compared with the object of highest IoU. It is
    correct if the IoU is at least 0.5 and no earlier detection matched that object. It is ignored if the object is
    difficult. All others, also repeated detections of an object, are false positives.

    Args:
        detections: detections, one entry per image.
        truth: the images' objects, in the same order.
        label: class index.

    Returns:
        Scores [n] of the detections that are not ignored, whether each is correct [n] bool, and the number of objects
        that are not difficult.

    Raises:
        CodialError: the numbers of entries and images differ.
    """
    if len(detections) != len(truth):
        raise CodialError(f"detections has {len(detections)} entries for {len(truth)} images; expected one per image.")
    parts = [_match_in_image(each, item, label) for each, item in zip(detections, truth, strict=True)]
    total = sum(int(((item.labels == label) & ~item.difficult).sum()) for item in truth)
    scores, correct = (torch.cat(column) for column in zip(*parts, strict=True))
    return scores, correct, total


def detection_precisions(
    detections: Sequence[Detections], truth: Sequence[AnnotatedImage], classes: Sequence[str], form: str = "11-point"
) -> dict[str, float | None]:
    """Return average precisions in percent by class; None for a class without objects.

    Args:
        detections: detections, one entry per image.
        truth: the images' objects, in the same order.
        classes: class names, in the order of the labels.
        form: "11-point" (VOC 2007) or "interpolated" (VOC 2010 and later), as in `average_precision`.

    Raises:
        CodialError: the numbers of entries and images differ, or the form is unknown.
    """
    values: dict[str, float | None] = {}
    for label, name in enumerate(classes):
        scores, correct, total = match_detections(detections, truth, label)
        values[name] = 100 * average_precision(scores, correct, form, total=total) if total else None
    return values


def _match_in_image(detections: Detections, item: AnnotatedImage, label: int) -> tuple[Tensor, Tensor]:
    """Return scores and correctness of one image's detections that are not ignored, in descending order of scores."""
    of_class = detections.labels == label
    scores, order = detections.scores[of_class].sort(descending=True, stable=True)
    boxes = detections.boxes[of_class][order]
    objects = item.labels == label
    if not objects.any():
        return scores, torch.zeros(len(scores), dtype=torch.bool)
    ious, nearest = box_iou(boxes, item.boxes[objects]).max(1)
    difficult = item.difficult[objects].tolist()
    matched: set[int] = set()
    counts, correct = [], []
    for iou, index in zip(ious.tolist(), nearest.tolist(), strict=True):
        matches = iou >= MIN_IOU
        counts.append(not (matches and difficult[index]))
        correct.append(matches and index not in matched)
        matched |= {index} if matches else set()
    counted = torch.tensor(counts, dtype=torch.bool)
    return scores[counted], torch.tensor(correct, dtype=torch.bool)[counted]
