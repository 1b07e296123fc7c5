"""torchvision's box operations, imported when first called because torchvision takes seconds to load.

Boxes are [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.
"""

from torch import Tensor


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersections over unions, [n, m], of boxes [n, 4] and [m, 4]."""
    from torchvision import ops

    return ops.box_iou(first, second)


def roi_max_pool(maps: Tensor, boxes: Tensor, side: int, scale: float) -> Tensor:
    """Max-pool each box's region of a feature map to [n, C, side, side].

    Args:
        maps: [1, C, h, w].
        boxes: [n, 4] with inclusive xmax and ymax, rounded to integers after scaling.
        side: cells per side.
        scale: size of a pixel in cells of the feature map.
    """
    from torchvision import ops

    return ops.roi_pool(maps, [boxes], side, scale)


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    """Return the indices that non-maximum suppression by class keeps, in descending order of scores."""
    from torchvision import ops

    return ops.batched_nms(boxes, scores, labels, overlap)


def clip_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip boxes to the image."""
    return boxes.clamp_min(0).minimum(boxes.new_tensor([width, height, width, height]))
