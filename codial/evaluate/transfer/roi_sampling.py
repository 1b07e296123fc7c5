"""Sampling of training boxes and their targets (Girshick, Fast R-CNN, ICCV 2015, section 2.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from codial.evaluate.metrics.box_ops import box_iou

OFFSET_STD = (0.1, 0.1, 0.2, 0.2)  # fixed standard deviations by which Fast R-CNN divides offsets
FOREGROUND = 0.5  # minimum IoU of foreground boxes with an object
BACKGROUND = 0.1  # minimum IoU of background boxes, which are hard negatives near objects
FOREGROUND_FRACTION = 0.25  # of the boxes of a step
_MAX_LOG_RATIO = 4.135  # log(1000 / 16): offsets cannot enlarge a box further


@dataclass(frozen=True)
class SampledBoxes:
    """Training boxes of an image.

    Attributes:
        boxes: [n, 4] float32 in the image's pixels.
        labels: [n] int64: 0 for background, else 1 + class index.
        offsets: [n, 4] float32 from each box to its object; 0 for background.
    """

    boxes: Tensor
    labels: Tensor
    offsets: Tensor


def encode(boxes: Tensor, objects: Tensor) -> Tensor:
    """Return the offsets from boxes to objects (R-CNN, appendix C), divided by `OFFSET_STD`.

    Args:
        boxes: [n, 4]: xmin, ymin, xmax, ymax, the latter two exclusive.
        objects: [n, 4] likewise.

    Returns:
        [n, 4]: dx and dy, the shift of the center relative to the box's sides, and dw and dh, log ratios of the sides.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    object_sides = objects[..., 2:] - objects[..., :2]
    shift = (objects[..., :2] + objects[..., 2:] - boxes[..., :2] - boxes[..., 2:]) / 2
    return torch.cat((shift / sides, (object_sides / sides).log()), -1) / boxes.new_tensor(OFFSET_STD)


def decode(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Apply offsets to boxes, the inverse of `encode`; both are [..., 4]."""
    offsets = offsets * boxes.new_tensor(OFFSET_STD)
    sides = boxes[..., 2:] - boxes[..., :2]
    center = (boxes[..., :2] + boxes[..., 2:]) / 2 + offsets[..., :2] * sides
    half = sides * offsets[..., 2:].clamp_max(_MAX_LOG_RATIO).exp() / 2
    return torch.cat((center - half, center + half), -1)


def sample(
    proposals: Tensor, objects: Tensor, labels: Tensor, difficult: Tensor, count: int, generator: torch.Generator
) -> SampledBoxes:
    """Sample training boxes: a quarter foreground and the rest background, or fewer if there are not enough.

    The objects themselves are added to the proposals. Difficult objects are ignored, and boxes that overlap
    them are not background.

    Args:
        proposals: [n, 4].
        objects: [m, 4].
        labels: [m] int64, class indices.
        difficult: [m] bool, not all true.
        count: maximum number of boxes.
        generator: random generator.
    """
    targets = objects[~difficult]
    classes = labels[~difficult]
    boxes = torch.cat((targets, proposals))
    iou, nearest = box_iou(boxes, targets).max(1)
    ignored = (box_iou(boxes, objects[difficult]) >= FOREGROUND).any(1)
    foreground = _sample_indices(iou >= FOREGROUND, round(FOREGROUND_FRACTION * count), generator)
    near = (iou >= BACKGROUND) & (iou < FOREGROUND) & ~ignored
    background = _sample_indices(near, count - len(foreground), generator)
    sampled = torch.cat((foreground, background))
    box_labels = 1 + classes[nearest[sampled]]
    box_labels[len(foreground) :] = 0
    offsets = encode(boxes[sampled], targets[nearest[sampled]])
    offsets[len(foreground) :] = 0
    return SampledBoxes(boxes[sampled], box_labels, offsets)


def _sample_indices(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return at most `count` indices at which a mask [n] is true, in random order."""
    indices = mask.nonzero()[:, 0]
    return indices[torch.randperm(len(indices), generator=generator)[:count]]
