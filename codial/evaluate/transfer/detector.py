"""A trunk that looks at boxes in a picture: Fast R-CNN (Girshick, ICCV 2015)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad, smooth_l1_loss

from codial.evaluate.transfer.boxes import clip, pool, suppress
from codial.evaluate.transfer.hits import Detections
from codial.evaluate.transfer.matching import decode
from codial.models import Trunk

STEP = 32  # pixels; the sides of what a trunk sees are multiples of it


class FastRcnn(nn.Module):
    """Scores boxes, and moves them: conv5 over the whole picture, each box's part of it pooled to what fc6 reads.

    So fc6 and fc7 begin as they were trained; the two last layers begin at random, as Fast R-CNN's. conv1 stays as it
    is, and so do batch norm's running statistics (see `balance`); its scale and shift are learnt.

    Args:
        trunk: it is trained along, but for conv1.
        classes: how many, without the background.
        generator: of the last layers' weights.
    """

    def __init__(self, trunk: Trunk, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk, self.classes = trunk, classes
        self.scores = nn.Linear(trunk.features, 1 + classes)
        self.offsets = nn.Linear(trunk.features, 4 * classes)
        for layer, spread in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=spread, generator=generator)
            nn.init.zeros_(layer.bias)
        for name, values in trunk.named_parameters():
            values.requires_grad_("conv1" not in name.split("."))
        self.eval()

    def forward(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Judge the boxes of some pictures.

        Args:
            images: each [3, H, W] in [0, 1], of any size.
            boxes: for each [n, 4], in its pixels.

        Returns:
            Scores before softmax [N, 1 + classes], the background's first, and offsets [N, classes, 4], for all boxes.
        """
        windows = [self.windows(image, each) for image, each in zip(images, boxes, strict=True)]
        hidden = self.trunk.dense(torch.cat(windows))
        return self.scores(hidden), self.offsets(hidden).view(-1, self.classes, 4)

    def windows(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Return each box's part of conv5, the greatest value of each cell, [n, C, window, window].

        Its places are those that the trunk would have if the box were a picture of its own, so that fc6 reads what it
        was trained on: a box that begins at a multiple of the step and is of the trunk's size is taken as it is.
        """
        below, beside = (-n % STEP for n in image.shape[-2:])
        maps = self.trunk.maps(pad(image.unsqueeze(0), (0, beside, 0, below), mode="replicate"))
        step, _ = self.trunk.grid()
        inclusive = boxes - boxes.new_tensor([0, 0, step, step])  # the last place belongs to the box
        return pool(maps, inclusive, self.trunk.window, 1 / step)

    @torch.no_grad()
    def detect(
        self, image: Tensor, proposals: Tensor, threshold: float, overlap: float = 0.3, most: int = 100
    ) -> Detections:
        """Find objects in one picture.

        Args:
            image: [3, H, W] in [0, 1].
            proposals: [n, 4].
            threshold: of the score, a probability; what is below is dropped.
            overlap: of two boxes of a class that overlap by more, the better one stays.
            most: detections.
        """
        if not len(proposals):
            return Detections(proposals, proposals.new_zeros(0), torch.zeros(0, dtype=torch.int64))
        scores, offsets = self([image], [proposals])
        likely = scores.softmax(1)[:, 1:]
        rows, labels = (likely >= threshold).nonzero(as_tuple=True)
        found = likely[rows, labels]
        boxes = clip(decode(proposals[rows], offsets[rows, labels]), *image.shape[-2:])
        kept = suppress(boxes, found, labels, overlap)[:most]
        return Detections(boxes[kept], found[kept], labels[kept])


def loss_of(scores: Tensor, offsets: Tensor, labels: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two losses, each [], whose sum is Fast R-CNN's (equation 1, lambda 1).

    Args:
        scores: [N, 1 + classes].
        offsets: [N, classes, 4].
        labels: [N] int64, 0 for background.
        wanted: [N, 4].

    Returns:
        The mean cross-entropy, and the smooth L1 distance of the offsets of the right class, summed over the four and
        over foreground boxes, divided by N.
    """
    front = labels > 0
    apart = smooth_l1_loss(offsets[front, labels[front] - 1], wanted[front], reduction="sum")
    return cross_entropy(scores, labels), apart / len(labels)


def rescale(picture: Tensor, side: int, most: int) -> tuple[Tensor, Tensor]:
    """Bring a picture's shorter side to `side` pixels, or to less where the longer one would exceed `most`.

    Args:
        picture: [3, H, W] uint8.
        side: in pixels.
        most: in pixels.

    Returns:
        [3, h, w] float32 in [0, 1], bilinear and antialiased, and what boxes are to be multiplied by, [4].
    """
    sides = picture.shape[-2:]
    zoom = min(side / min(sides), most / max(sides))
    height, width = (max(1, round(n * zoom)) for n in sides)
    image = interpolate(picture.unsqueeze(0).float() / 255, (height, width), mode="bilinear", antialias=True)
    across, down = width / sides[1], height / sides[0]
    return image[0].clamp(0, 1), image.new_tensor([across, down, across, down])
