"""What torchvision does with boxes; it takes seconds to load, so it is loaded when first needed.

Boxes are [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.
"""

from torch import Tensor


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return intersections over unions, [n, m], of boxes [n, 4] and [m, 4]."""
    from torchvision.ops import box_iou

    return box_iou(first, second)


def pool(maps: Tensor, boxes: Tensor, side: int, scale: float) -> Tensor:
    """Return the greatest value of each cell of each box, [n, C, side, side].

    Args:
        maps: [1, C, h, w].
        boxes: [n, 4], the latter two inclusive, rounded to whole places after scaling.
        side: cells.
        scale: places of the maps to a pixel.
    """
    from torchvision.ops import roi_pool

    return roi_pool(maps, [boxes], side, scale)


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Return the places of the boxes that stay, the highest score first, where those of a class overlap by more."""
    from torchvision.ops import batched_nms

    return batched_nms(boxes, scores, labels, overlap)


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut off what lies outside a picture."""
    return boxes.clamp_min(0).minimum(boxes.new_tensor([width, height, width, height]))
