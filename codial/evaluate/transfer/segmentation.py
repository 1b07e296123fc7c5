"""VOC2012 segmentation: a fully convolutional network on a backbone, fine-tuned end to end.

The schedule is that of the colorization paper's transfer (Zhang, Isola and Efros, ECCV 2016), which the methods of the
paper's Table 3 share. Its learning rate drops are relative to the number of steps; short runs need a higher learning
rate.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from codial.data.checks import check_int
from codial.data.datasets import voc
from codial.data.datasets.voc import SegmentedImage
from codial.data.io.decode import WORKERS
from codial.errors import CodialError
from codial.evaluate.features import backbone_of
from codial.evaluate.metrics.iou import confusion_matrix, iou_by_class
from codial.evaluate.transfer.fcn import STEP, Fcn, crop
from codial.evaluate.transfer.report import TransferReport, mean_over_classes
from codial.models import Backbone, require_transfer
from codial.runs.run import Run
from codial.utils.progress import progress_bar

NAME = "transfer-voc2012-segmentation"
NAMES = ("background", *voc.CLASSES)
_EXAMPLES = 6  # test images whose masks are kept
_STATISTICS_BATCHES = 8  # of which batch norm's statistics are computed after training


@dataclass(frozen=True)
class SegmentationConfig:
    """The segmentation protocol."""

    steps: int = 150_000
    batch: int = 20
    lr: float = 1e-4  # divided by 10 after a third of the steps, by 100 after two thirds; short runs need 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 320  # side of training crops, pixels; a multiple of 32
    zoom: float = 1.0  # factor by which images are resized; less than 1 for backbones trained at 64 pixels
    scales: tuple[float, float] = (0.5, 2.0)  # minimum and maximum scale of crops, relative to zoom
    seed: int = 0  # of order and crops

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("seed", 0), ("crop", STEP)):
            check_int(name, getattr(self, name), least)
        if self.crop % STEP:
            raise CodialError(f"crop is {self.crop}; expected a multiple of {STEP}.")
        if min(self.lr, self.zoom, self.scales[0]) <= 0 or self.scales[0] > self.scales[1]:
            raise CodialError(f"{self}: expected lr, zoom and scales above 0, and scales as (minimum, maximum).")

    def describe(self) -> str:
        """Return the protocol in a sentence."""
        return (
            "fully convolutional, dense layers as convolutions, bilinear to pixels, all layers fine-tuned; batch norm"
            f" by batch statistics in training, by those of {_STATISTICS_BATCHES} batches of crops in evaluation;"
            f" {self.steps:,} steps of {self.batch} crops of {self.crop} pixels, scaled {self.scales[0]:g} to"
            f" {self.scales[1]:g}, mirrored, at {self.zoom:g} times the images' size; SGD with momentum"
            f" {self.momentum:g}, learning rate {self.lr:g}, divided by 10 after one third and by 100 after two, weight"
            f" decay {self.weight_decay:g}; each test image at its original size, one confusion matrix over all;"
            " classes that are neither present nor predicted are ignored in the mean"
        )


@dataclass(frozen=True)
class SegmentationExample:
    """A test image with its true and its predicted mask, both [H, W] uint8."""

    path: Path
    truth: Tensor = field(repr=False)
    prediction: Tensor = field(repr=False)


@dataclass(frozen=True)
class SegmentationResult:
    """Segmentation results.

    Attributes:
        report: intersections over unions in percent.
        losses: mean loss of the pixels of each training batch.
        counts: [21, 21] int64, confusion matrix of the test images' pixels; rows are true classes.
        examples: the first test images.
    """

    report: TransferReport
    losses: list[float] = field(repr=False)
    counts: Tensor = field(repr=False)
    examples: list[SegmentationExample] = field(repr=False)


def segment(
    source: Run | Backbone,
    train: Sequence[SegmentedImage],
    test: Sequence[SegmentedImage],
    config: SegmentationConfig | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> SegmentationResult:
    """Fine-tune a network on a copy of the backbone; the report of a run is also saved in its folder.

    Args:
        source: a run or a backbone, which is not changed.
        train: training images and masks, such as `codial.data.datasets.voc.list_segmented(root, "train")`.
        test: test images and masks.
        config: the protocol.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: the backbone is no AlexNet, there are no images, a file is missing or damaged, or the loss becomes
            NaN or infinite.
    """
    config = config or SegmentationConfig()
    backbone = require_transfer(backbone_of(source, device), "Segmentation")
    if not train or not test:
        raise CodialError(
            f"There are {len(train)} training and {len(test)} test images; expected at least one of each."
        )
    net = Fcn(deepcopy(backbone), len(NAMES), config.zoom)
    net.to(next(net.backbone.parameters()).device)
    losses = fine_tune(net, train, config, progress)
    counts, examples = evaluate(net, test, progress)
    ious = iou_by_class(counts)
    classes = {name: None if iou is None else 100 * iou for name, iou in zip(NAMES, ious, strict=True)}
    report = TransferReport(
        metric="mIoU",
        value=mean_over_classes(classes),
        classes=classes,
        train=_describe(train),
        test=_describe(test),
        protocol=config.describe(),
        seed=config.seed,
    )
    if isinstance(source, Run):
        report.save(source, NAME)
    return SegmentationResult(report, losses, counts, examples)


def fine_tune(
    net: Fcn, train: Sequence[SegmentedImage], config: SegmentationConfig, progress: bool = True
) -> list[float]:
    """Train a network in place and return its loss at each step.

    Raises:
        CodialError: a file is damaged, or the loss becomes NaN or infinite.
    """
    device = net.score.weight.device
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)
    losses = []
    batches = sample_batches(train, config, config.steps, config.seed)
    bar = progress_bar(batches, "fine-tuning", config.steps, show=progress)
    for step, (images, masks) in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * 0.1 ** (3 * step // config.steps)
        loss = pixel_loss(net(images.to(device)), masks.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise CodialError(
                f"NaN or infinite loss at step {step}: {losses[-1]}. Use a learning rate below {config.lr:g}."
            )
    crops = [images.to(device) for images, _ in sample_batches(train, config, _STATISTICS_BATCHES, config.seed + 1)]
    net.recompute_statistics(crops)
    return losses


def pixel_loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores [B, C, H, W] and masks [B, H, W], a scalar, without ignored pixels."""
    total = cross_entropy(scores, masks.long(), ignore_index=voc.IGNORE_INDEX, reduction="sum")
    return total / (masks != voc.IGNORE_INDEX).sum().clamp_min(1)


@torch.no_grad()
def evaluate(
    net: Fcn, test: Sequence[SegmentedImage], progress: bool = True
) -> tuple[Tensor, list[SegmentationExample]]:
    """Return the confusion matrix of all pixels, [21, 21] int64, and the masks of the first images.

    Raises:
        CodialError: a file is damaged.
    """
    device = net.score.weight.device
    counts = torch.zeros(len(NAMES), len(NAMES), dtype=torch.int64)
    examples: list[SegmentationExample] = []
    for item in progress_bar(test, desc="evaluation", show=progress):
        image, truth = voc.read_image_and_mask(item)
        prediction = net.pixels(image.to(device)).argmax(0).to(torch.uint8).cpu()
        counts += confusion_matrix(truth, prediction, len(NAMES))
        if len(examples) < _EXAMPLES:
            examples.append(SegmentationExample(item.path, truth, prediction))
    return counts, examples


def sample_batches(
    train: Sequence[SegmentedImage], config: SegmentationConfig, steps: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of random crops, with all images once before any is repeated; files are decoded in parallel.

    Yields:
        [B, 3, S, S] float32 in [0, 1] and [B, S, S] uint8, where S is the config's crop.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = (config.zoom * config.scales[0], config.zoom * config.scales[1])
    order: list[int] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(steps):
            while len(order) < config.batch:
                order += torch.randperm(len(train), generator=generator).tolist()
            indices = order[: config.batch]
            order = order[config.batch :]
            pairs = pool.map(voc.read_image_and_mask, [train[i] for i in indices])
            crops = [crop(*pair, config.crop, scales, generator) for pair in pairs]
            yield torch.stack([image for image, _ in crops]), torch.stack([mask for _, mask in crops])


def _describe(items: Sequence[SegmentedImage]) -> str:
    """Return the dataset's name, the number of masks, and a 16-digit SHA-256 of their names and contents."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.mask.name.encode() + b"\0" + hashlib.sha256(item.mask.read_bytes()).digest())
    return f"{items[0].mask.parents[1].name.lower()} {len(items)} masks {digest.hexdigest()[:16]}"
