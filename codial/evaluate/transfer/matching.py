"""Which boxes a detector learns from, and what it is to say of them (Girshick, Fast R-CNN, ICCV 2015, section 2.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from codial.evaluate.transfer.boxes import overlaps

SPREAD = (0.1, 0.1, 0.2, 0.2)  # offsets are divided by these, Fast R-CNN's fixed deviations
FOREGROUND = 0.5  # an overlap with an object of this or more
BACKGROUND = 0.1  # of this or more, and less than the foreground's: boxes near objects are the hard ones
SHARE = 0.25  # of foreground among the boxes of a step
_LARGEST = 4.135  # log(1000 / 16): no offset makes a box larger than that many times


@dataclass(frozen=True)
class Sampled:
    """Boxes to learn from.

    Attributes:
        boxes: [n, 4] float32 in the picture's pixels.
        labels: [n] int64: 0 for background, else 1 + the class.
        offsets: [n, 4] float32 to the object of each; zeros for background.
    """

    boxes: Tensor
    labels: Tensor
    offsets: Tensor


def encode(boxes: Tensor, objects: Tensor) -> Tensor:
    """Return the offsets that lead from boxes to objects (R-CNN, appendix C), over `SPREAD`.

    Args:
        boxes: [n, 4]: xmin, ymin, xmax, ymax, the latter two exclusive.
        objects: [n, 4] likewise.

    Returns:
        [n, 4]: dx and dy, the move of the centre in parts of the box's sides, and dw and dh, logarithms of the ratios.
    """
    sides, wanted = boxes[..., 2:] - boxes[..., :2], objects[..., 2:] - objects[..., :2]
    moved = (objects[..., :2] + objects[..., 2:] - boxes[..., :2] - boxes[..., 2:]) / 2
    return torch.cat((moved / sides, (wanted / sides).log()), -1) / boxes.new_tensor(SPREAD)


def decode(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Return the boxes to which offsets lead, the inverse of `encode`; both are [..., 4]."""
    offsets = offsets * boxes.new_tensor(SPREAD)
    sides = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + offsets[..., :2] * sides
    half = sides * offsets[..., 2:].clamp_max(_LARGEST).exp() / 2
    return torch.cat((centre - half, centre + half), -1)


def sample(
    proposals: Tensor, objects: Tensor, labels: Tensor, difficult: Tensor, count: int, generator: torch.Generator
) -> Sampled:
    """Draw boxes to learn from: a quarter foreground, the rest background; fewer where there are not as many.

    The objects themselves are among the proposals. Difficult objects are not learnt, and what overlaps one is no
    background.

    Args:
        proposals: [n, 4].
        objects: [m, 4].
        labels: [m] int64, the class.
        difficult: [m] bool; at least one is not.
        count: boxes at most.
        generator: of the draw.
    """
    known, kinds = objects[~difficult], labels[~difficult]
    boxes = torch.cat((known, proposals))
    overlap, nearest = overlaps(boxes, known).max(1)
    hard = (overlaps(boxes, objects[difficult]) >= FOREGROUND).any(1)
    front = _draw(overlap >= FOREGROUND, round(SHARE * count), generator)
    behind = _draw((overlap >= BACKGROUND) & (overlap < FOREGROUND) & ~hard, count - len(front), generator)
    chosen = torch.cat((front, behind))
    numbers = 1 + kinds[nearest[chosen]]
    numbers[len(front) :] = 0
    offsets = encode(boxes[chosen], known[nearest[chosen]])
    offsets[len(front) :] = 0
    return Sampled(boxes[chosen], numbers, offsets)


def _draw(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return at most `count` of the places where a mask [n] is true, in random order."""
    places = mask.nonzero()[:, 0]
    return places[torch.randperm(len(places), generator=generator)[:count]]
