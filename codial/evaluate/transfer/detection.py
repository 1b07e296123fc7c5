"""VOC2007 detection: Fast R-CNN on a backbone, fine-tuned on several image scales and evaluated on one.

The schedule is that of Decouple's and RotNet's transfer, which the paper's Table 3 follows. Its learning rate drops are
relative to the number of steps; short runs need a higher learning rate.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from codial.data.checks import check_int
from codial.data.datasets import voc
from codial.data.datasets.voc import AnnotatedImage
from codial.data.io.decode import WORKERS
from codial.errors import CodialError
from codial.evaluate.features import backbone_of
from codial.evaluate.metrics.detection_ap import Detections, detection_precisions
from codial.evaluate.transfer.fast_rcnn import FastRcnn, fast_rcnn_losses, resize_image
from codial.evaluate.transfer.proposals import ProposalConfig, propose, recall
from codial.evaluate.transfer.report import TransferReport, mean_over_classes
from codial.evaluate.transfer.rescaling import rescale_layers
from codial.evaluate.transfer.roi_sampling import BACKGROUND, FOREGROUND, FOREGROUND_FRACTION, SampledBoxes, sample
from codial.models import Backbone, require_transfer
from codial.runs.run import Run
from codial.utils.progress import progress_bar

NAME = "transfer-voc2007-detection"
_EXAMPLES = 6  # test images whose detections are kept
_STATISTICS_BATCHES = 8  # of which batch norm's statistics are computed
_MIRROR = (-1.0, 1.0, 1.0, 1.0)  # factors of offsets in a mirrored image


@dataclass(frozen=True)
class DetectionConfig:
    """The detection protocol."""

    steps: int = 200_000
    images: int = 2  # per step
    boxes: int = 128  # per step, over all images
    lr: float = 1e-3  # divided by 10 after 40 % of the steps, by 100 after 80 %; a few hundred steps need 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    scales: tuple[int, ...] = (
        480,
        576,
        688,
        864,
        1200,
    )  # shorter sides in training, pixels; less for 64-pixel backbones
    scale: int = 600  # shorter side in evaluation, pixels
    max_side: int = 2000  # maximum of the longer side, pixels; elongated images are resized to less
    threshold: float = 0.01  # minimum probability of a detection
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    seed: int = 0  # of the output layers, order, scales, mirroring and sampled boxes

    def __post_init__(self) -> None:
        leasts = {"steps": 0, "images": 1, "boxes": 1, "scale": 1, "max_side": 1, "seed": 0}
        for name, least in leasts.items():
            check_int(name, getattr(self, name), least)
        for scale in self.scales:
            check_int("a scale", scale, 1)
        if not self.scales or self.lr <= 0 or not 0 <= self.threshold < 1:
            raise CodialError(f"{self}: expected at least one scale, lr above 0, and threshold in [0, 1).")
        if self.boxes < self.images:
            raise CodialError(f"boxes is {self.boxes} for {self.images} images; expected at least one box per image.")

    def describe(self) -> str:
        """Return the protocol in a sentence."""
        return (
            f"Fast R-CNN on {self.proposals.describe()}; last maps pooled by box, pretrained dense layers, all layers"
            f" but the first fine-tuned; batch norm's statistics computed on {_STATISTICS_BATCHES} batches, then"
            f" frozen, and weights divided by the standard deviations; {self.steps:,} steps of {self.images} images and"
            f" {self.boxes} boxes, {100 * FOREGROUND_FRACTION:g} % foreground (IoU of at least {FOREGROUND:g},"
            f" background of at least {BACKGROUND:g}), shorter side {', '.join(map(str, self.scales))}, mirrored; SGD"
            f" with momentum {self.momentum:g}, learning rate {self.lr:g}, divided by 10 after 40 % and by 100 after"
            f" 80 %, weight decay {self.weight_decay:g}; evaluated at a shorter side of {self.scale}, longer side at"
            f" most {self.max_side}; scores of at least {self.threshold:g}, non-maximum suppression at 0.3, at most 100"
            " detections per image; difficult objects ignored; 11-point average precision at an IoU of 0.5"
        )


@dataclass(frozen=True)
class DetectionExample:
    """A test image with its objects and its detections."""

    truth: AnnotatedImage
    detections: Detections


@dataclass(frozen=True)
class DetectionResult:
    """Detection results.

    Attributes:
        report: 11-point average precisions (VOC2007's rule), in percent.
        areas: interpolated average precisions (VOC2010's rule) by class, in percent.
        recall: percent of the test objects of which a proposal has an IoU of at least 0.5, an upper bound of recall.
        losses: [steps, 2] float32, cross-entropy and smooth L1 loss of the boxes at each step.
        examples: the first test images.
    """

    report: TransferReport
    areas: dict[str, float | None]
    recall: float
    losses: Tensor = field(repr=False)
    examples: list[DetectionExample] = field(repr=False)


def detect(
    source: Run | Backbone,
    train: Sequence[AnnotatedImage],
    test: Sequence[AnnotatedImage],
    config: DetectionConfig | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
    device: str = "auto",
) -> DetectionResult:
    """Fine-tune a detector on a copy of the backbone; the report of a run is also saved in its folder.

    Args:
        source: a run or a backbone, which is not changed.
        train: training images with boxes, such as `codial.data.datasets.voc.read_annotations(root, "trainval")`.
        test: test images with boxes.
        config: the protocol; with 0 steps the output layers stay untrained.
        cache: cache folder of proposals; for a run by default "proposals" beside its folder.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: the backbone is no AlexNet, there are no images with objects that are not difficult, an image
            cannot be decoded, OpenCV's contrib modules are not installed, or the loss becomes NaN or infinite.
    """
    config = config or DetectionConfig()
    backbone = require_transfer(backbone_of(source, device), "Detection")
    usable = [item for item in train if not bool(item.difficult.all())]
    usable_test = [item for item in test if not bool(item.difficult.all())]
    if not usable or not usable_test:
        raise CodialError(
            f"{len(usable)} of {len(train)} training images and {len(usable_test)} of {len(test)} test images have"
            " objects that are not difficult; expected at least one of each."
        )
    if cache is None and isinstance(source, Run):
        cache = source.folder.parent / "proposals"
    boxes = propose([*usable, *test], None if cache is None else Path(cache), config.proposals, progress=progress)
    train_boxes = boxes[: len(usable)]
    test_boxes = boxes[len(usable) :]
    generator = torch.Generator().manual_seed(config.seed)
    net = FastRcnn(deepcopy(backbone), len(voc.CLASSES), generator).to(next(backbone.parameters()).device)
    losses = fine_tune(net, usable, train_boxes, config, progress)
    detections = evaluate(net, test, test_boxes, config, progress)
    eleven_point = detection_precisions(detections, test, voc.CLASSES, "11-point")
    areas = detection_precisions(detections, test, voc.CLASSES, "interpolated")
    report = TransferReport(
        metric="mAP",
        value=mean_over_classes(eleven_point),
        classes=eleven_point,
        train=_describe(train),
        test=_describe(test),
        protocol=config.describe(),
        seed=config.seed,
    )
    max_recall = recall(test, test_boxes)
    if isinstance(source, Run):
        report.save(source, NAME, value_area=mean_over_classes(areas), classes_area=areas, recall=max_recall)
    examples = [DetectionExample(*pair) for pair in zip(test[:_EXAMPLES], detections, strict=False)]
    return DetectionResult(report, areas, max_recall, losses, examples)


def fine_tune(
    net: FastRcnn,
    train: Sequence[AnnotatedImage],
    proposals: Sequence[Tensor],
    config: DetectionConfig,
    progress: bool = True,
) -> Tensor:
    """Train a detector in place and return its losses, [steps, 2]: cross-entropy and smooth L1.

    Raises:
        CodialError: an image cannot be decoded, or the loss becomes NaN or infinite.
    """
    device = net.scores.weight.device
    batches = sample_batches(train, proposals, config, _STATISTICS_BATCHES, seed=config.seed + 1)
    rescale_layers(net, (partial(_forward, net, *batch) for batch in batches))
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.weight_decay)
    losses = torch.zeros(config.steps, 2)
    batches = sample_batches(train, proposals, config, config.steps, config.seed)
    bar = progress_bar(batches, "fine-tuning", config.steps, show=progress)
    for step, (images, boxes) in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * 0.1 ** (5 * step // (2 * config.steps))
        scores, offsets = _forward(net, images, boxes)
        labels = torch.cat([each.labels for each in boxes]).to(device)
        targets = torch.cat([each.offsets for each in boxes]).to(device)
        loss = torch.stack(fast_rcnn_losses(scores, offsets, labels, targets))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses[step] = loss.detach()
        if not losses[step].isfinite().all():
            raise CodialError(
                f"NaN or infinite loss at step {step}: {losses[step].tolist()}. Use a learning rate below"
                f" {config.lr:g}."
            )
    return losses


def _forward(net: FastRcnn, images: list[Tensor], boxes: list[SampledBoxes]) -> tuple[Tensor, Tensor]:
    device = net.scores.weight.device
    return net([image.to(device) for image in images], [each.boxes.to(device) for each in boxes])


def evaluate(
    net: FastRcnn,
    test: Sequence[AnnotatedImage],
    proposals: Sequence[Tensor],
    config: DetectionConfig,
    progress: bool = True,
) -> list[Detections]:
    """Return the detections in each image, in pixels of the original image, on the CPU.

    Raises:
        CodialError: an image cannot be decoded.
    """
    device = net.scores.weight.device
    detections = []
    pairs = zip(test, proposals, strict=True)
    for item, boxes in progress_bar(pairs, "evaluation", len(test), show=progress):
        image, factor = resize_image(voc.read_pixels(item.path), config.scale, config.max_side)
        each = net.detect(image.to(device), (boxes * factor).to(device), config.threshold)
        detections.append(Detections(each.boxes.cpu() / factor, each.scores.cpu(), each.labels.cpu()))
    return detections


def sample_batches(
    train: Sequence[AnnotatedImage], proposals: Sequence[Tensor], config: DetectionConfig, steps: int, seed: int
) -> Iterator[tuple[list[Tensor], list[SampledBoxes]]]:
    """Yield training batches, with all images once before any is repeated.

    Yields:
        Images, each [3, H, W] float32 in [0, 1], randomly scaled and mirrored, and their sampled boxes.
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(steps):
            while len(order) < config.images:
                order += torch.randperm(len(train), generator=generator).tolist()
            indices = order[: config.images]
            order = order[config.images :]
            images = list(pool.map(voc.read_pixels, [train[i].path for i in indices]))
            pairs = [
                augment(image, train[i], proposals[i], config, generator)
                for image, i in zip(images, indices, strict=True)
            ]
            yield [image for image, _ in pairs], [boxes for _, boxes in pairs]


def augment(
    image: Tensor, item: AnnotatedImage, proposals: Tensor, config: DetectionConfig, generator: torch.Generator
) -> tuple[Tensor, SampledBoxes]:
    """Sample boxes of one image, scale it randomly, and mirror it with probability 0.5.

    Args:
        image: [3, H, W] uint8.
        item: its annotations.
        proposals: [n, 4] in its pixels.
        config: the protocol.
        generator: random generator.

    Returns:
        The image, [3, h, w] float32 in [0, 1], and the boxes in its pixels.
    """
    count = config.boxes // config.images
    sampled = sample(proposals, item.boxes, item.labels, item.difficult, count, generator)
    scale = config.scales[int(torch.randint(len(config.scales), (), generator=generator))]
    scaled, factor = resize_image(image, scale, config.max_side)
    boxes = sampled.boxes * factor
    if torch.rand((), generator=generator) < 0.5:
        return scaled, SampledBoxes(boxes, sampled.labels, sampled.offsets)
    left, top, right, bottom = boxes.unbind(1)
    width = scaled.shape[-1]
    boxes = torch.stack((width - right, top, width - left, bottom), 1)
    return scaled.flip(-1), SampledBoxes(boxes, sampled.labels, sampled.offsets * boxes.new_tensor(_MIRROR))


def _describe(items: Sequence[AnnotatedImage]) -> str:
    """Return the dataset's name, its numbers of images and objects, and a 16-digit SHA-256 of names and boxes."""
    digest, count = hashlib.sha256(), 0
    for item in items:
        digest.update(
            f"{item.path.name}\0{item.boxes.tolist()}{item.labels.tolist()}{item.difficult.tolist()}".encode()
        )
        count += len(item.boxes)
    name = items[0].path.parents[1].name.lower()
    return f"{name} {len(items)} images, {count} objects {digest.hexdigest()[:16]}"
