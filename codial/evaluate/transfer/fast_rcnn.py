"""Fast R-CNN on a backbone (Girshick, ICCV 2015)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad, smooth_l1_loss

from codial.evaluate.metrics.box_ops import clip_boxes, roi_max_pool, suppress
from codial.evaluate.metrics.detection_ap import Detections
from codial.evaluate.transfer.roi_sampling import decode
from codial.models import TransferBackbone

STEP = 32  # images are padded to multiples of it, pixels


class FastRcnn(nn.Module):
    """Fast R-CNN: the last maps of the complete image, pooled per box to the input size of the dense layers.

    All layers keep their pretrained weights; the two output layers are initialized randomly, as in Fast R-CNN. The
    first layer and batch norm's running statistics are frozen (see `rescale_layers`), but batch norm's scale and shift
    are trained.

    Args:
        backbone: the backbone, fine-tuned except for its first layer.
        classes: number of classes without background.
        generator: generator of the output layers' weights.
    """

    def __init__(self, backbone: TransferBackbone, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.scores = nn.Linear(backbone.feature_dim, 1 + classes)
        self.offsets = nn.Linear(backbone.feature_dim, 4 * classes)
        for layer, std in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=std, generator=generator)
            nn.init.zeros_(layer.bias)
        for name, values in backbone.named_parameters():
            values.requires_grad_(backbone.layers[0] not in name.split("."))
        self.eval()

    def forward(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Classify boxes and predict their offsets.

        Args:
            images: each [3, H, W] in [0, 1], of any size.
            boxes: for each image [n, 4] in its pixels.

        Returns:
            Logits [N, 1 + classes], background first, and offsets [N, classes, 4] of all boxes.
        """
        windows = [self.windows(image, each) for image, each in zip(images, boxes, strict=True)]
        hidden = self.backbone.dense(torch.cat(windows))
        return self.scores(hidden), self.offsets(hidden).view(-1, self.classes, 4)

    def windows(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Max-pool each box's region of the last maps to [n, C, window, window].

        Cells are aligned so that the dense layers get what they were trained on: a box of the backbone's input size at
        a multiple of the stride has exactly the maps of an image of its own.
        """
        bottom, right = (-n % STEP for n in image.shape[-2:])
        layer = self.backbone.map_layers[-1]
        maps = self.backbone.maps(pad(image.unsqueeze(0), (0, right, 0, bottom), mode="replicate"), layer)
        step, _ = self.backbone.grid(layer)
        inclusive = boxes - boxes.new_tensor([0, 0, step, step])
        return roi_max_pool(maps, inclusive, self.backbone.window, 1 / step)

    @torch.no_grad()
    def detect(
        self, image: Tensor, proposals: Tensor, threshold: float, overlap: float = 0.3, limit: int = 100
    ) -> Detections:
        """Detect objects in one image.

        Args:
            image: [3, H, W] in [0, 1].
            proposals: [n, 4].
            threshold: minimum score (probability).
            overlap: IoU above which non-maximum suppression drops the box of lower score.
            limit: maximum number of detections.
        """
        if not len(proposals):
            return Detections(proposals, proposals.new_zeros(0), torch.zeros(0, dtype=torch.int64))
        scores, offsets = self([image], [proposals])
        probabilities = scores.softmax(1)[:, 1:]
        rows, labels = (probabilities >= threshold).nonzero(as_tuple=True)
        confidence = probabilities[rows, labels]
        boxes = clip_boxes(decode(proposals[rows], offsets[rows, labels]), *image.shape[-2:])
        kept = suppress(boxes, confidence, labels, overlap)[:limit]
        return Detections(boxes[kept], confidence[kept], labels[kept])


def fast_rcnn_losses(scores: Tensor, offsets: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two losses, each a scalar, whose sum is Fast R-CNN's (equation 1, lambda 1).

    Args:
        scores: [N, 1 + classes].
        offsets: [N, classes, 4].
        labels: [N] int64, 0 for background.
        targets: [N, 4] target offsets.

    Returns:
        Mean cross-entropy, and the smooth L1 loss of the true class's offsets, summed over foreground boxes and
        divided by N.
    """
    foreground = labels > 0
    predicted = offsets[foreground, labels[foreground] - 1]
    box_loss = smooth_l1_loss(predicted, targets[foreground], reduction="sum")
    return cross_entropy(scores, labels), box_loss / len(labels)


def resize_image(image: Tensor, side: int, max_side: int) -> tuple[Tensor, Tensor]:
    """Resize an image's shorter side to `side` pixels, or less if the longer side would exceed `max_side`.

    Args:
        image: [3, H, W] uint8.
        side: target of the shorter side in pixels.
        max_side: maximum of the longer side in pixels.

    Returns:
        The image, [3, h, w] float32 in [0, 1], bilinear and antialiased, and the factors of its boxes, [4].
    """
    sides = image.shape[-2:]
    zoom = min(side / min(sides), max_side / max(sides))
    height, width = (max(1, round(n * zoom)) for n in sides)
    resized = interpolate(image.unsqueeze(0).float() / 255, (height, width), mode="bilinear", antialias=True)
    x = width / sides[1]
    y = height / sides[0]
    return resized[0].clamp(0, 1), resized.new_tensor([x, y, x, y])
