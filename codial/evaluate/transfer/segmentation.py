"""VOC2012 segmentation: a fully convolutional network over a trunk, fine-tuned from end to end.

The schedule is that of the colourisation paper's transfer (Zhang, Isola and Efros, ECCV 2016), which the systems of the
paper's Table 3 share; a run of fewer steps falls through its rates in the same proportions and needs higher ones.
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
from tqdm import tqdm

from codial.data import voc
from codial.data.decode import WORKERS
from codial.data.pictures import check_whole
from codial.data.voc import Segmented
from codial.errors import CodialError
from codial.evaluate.features import trunk_of
from codial.evaluate.transfer.fcn import STEP, Fcn, crop
from codial.evaluate.transfer.iou import confusion, intersections_over_unions
from codial.evaluate.transfer.report import TransferReport, mean_of
from codial.models import Trunk
from codial.runs import Run

NAME = "transfer-voc2012-segmentation"
NAMES = ("background", *voc.CLASSES)
_SHOWN = 6  # test pictures whose masks are kept
_MEASURED = 8  # batches on which batch norm's statistics are measured in the end


@dataclass(frozen=True)
class SegmentationConfig:
    """The protocol."""

    steps: int = 150_000
    batch: int = 20
    lr: float = 1e-4  # a tenth after a third of the steps, a hundredth after two; a few hundred steps need 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 320  # pixels a side of what is learnt from; a multiple of 32
    zoom: float = 1.0  # pictures are brought to this times their size: less for trunks trained at 64 pixels
    scales: tuple[float, float] = (0.5, 2.0)  # of the crops, around the zoom
    seed: int = 0  # of order and crops

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("seed", 0), ("crop", STEP)):
            check_whole(name, getattr(self, name), least)
        if self.crop % STEP:
            raise CodialError(f"crop is {self.crop}; expected a multiple of {STEP}.")
        if min(self.lr, self.zoom, self.scales[0]) <= 0 or self.scales[0] > self.scales[1]:
            raise CodialError(f"{self} needs lr, zoom and scales above 0, and scales as (least, most).")

    def describe(self) -> str:
        """Return the protocol in a sentence."""
        return (
            f"fully convolutional, fc6 and fc7 as convolutions, bilinear to pixels, all layers fine-tuned; batch norm"
            f" by the batch's statistics, for judging by those of {_MEASURED} batches of crops; {self.steps:,} steps of"
            f" {self.batch} crops of {self.crop} pixels, scaled {self.scales[0]:g} to {self.scales[1]:g}, mirrored, at"
            f" {self.zoom:g} times the pictures' size; SGD with momentum {self.momentum:g}, learning rate {self.lr:g},"
            f" a tenth after one third and a hundredth after two, weight decay {self.weight_decay:g}; one view of each"
            " test picture, judged at its own size, one confusion matrix over all; classes neither there nor found are"
            " left out of the mean"
        )


@dataclass(frozen=True)
class Shown:
    """A test picture with its mask and the one that was found, both [H, W] uint8."""

    path: Path
    truth: Tensor = field(repr=False)
    found: Tensor = field(repr=False)


@dataclass(frozen=True)
class Segmentation:
    """What the trunk is worth for segmentation.

    Attributes:
        report: intersections over unions in percent.
        losses: of each step, the mean over the batch's pixels.
        counts: [21, 21] int64, the pixels of the test pictures by class (rows) and by what they were taken for.
        shown: the first test pictures.
    """

    report: TransferReport
    losses: list[float] = field(repr=False)
    counts: Tensor = field(repr=False)
    shown: list[Shown] = field(repr=False)


def segment(
    source: Run | Trunk,
    train: Sequence[Segmented],
    test: Sequence[Segmented],
    config: SegmentationConfig | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> Segmentation:
    """Fine-tune a network over a copy of the trunk; the report of a run is also written to its folder.

    Args:
        source: a run or a trunk, which stays as it is.
        train: pictures and masks to learn from, such as `codial.data.voc.segmented(root, "train")`.
        test: those to judge on.
        config: the protocol.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: no pictures, a file is missing or damaged, or the loss is not finite any more.
    """
    config = config or SegmentationConfig()
    if not train or not test:
        raise CodialError(f"Segmentation got {len(train)} pictures to learn from and {len(test)} to be judged on.")
    net = Fcn(deepcopy(trunk_of(source, device)), len(NAMES), config.zoom)
    net.to(next(net.trunk.parameters()).device)
    losses = fine_tune(net, train, config, progress)
    counts, shown = judge(net, test, progress)
    ratios = intersections_over_unions(counts)
    classes = {name: None if r is None else 100 * r for name, r in zip(NAMES, ratios, strict=True)}
    report = TransferReport(
        metric="mIoU",
        value=mean_of(classes),
        classes=classes,
        train=_describe(train),
        test=_describe(test),
        protocol=config.describe(),
        seed=config.seed,
    )
    if isinstance(source, Run):
        report.save(source, NAME)
    return Segmentation(report, losses, counts, shown)


def fine_tune(net: Fcn, train: Sequence[Segmented], config: SegmentationConfig, progress: bool = True) -> list[float]:
    """Train a network in place and return its losses, one a step.

    Raises:
        CodialError: a file is damaged, or the loss is not finite any more.
    """
    place = net.score.weight.device
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)
    losses = []
    each = crops(train, config, config.steps, config.seed)
    for step, (images, masks) in enumerate(
        tqdm(each, "fine-tuning", config.steps, delay=2, disable=not progress, leave=False)
    ):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * 0.1 ** (3 * step // config.steps)
        loss = loss_of(net(images.to(place)), masks.to(place))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise CodialError(f"The loss is {losses[-1]} at step {step}; choose a lower rate than {config.lr:g}.")
    net.measure([images.to(place) for images, _ in crops(train, config, _MEASURED, config.seed + 1)])
    return losses


def loss_of(scores: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy, [], of scores [B, C, H, W] at the pixels of masks [B, H, W] that count."""
    total = cross_entropy(scores, masks.long(), ignore_index=voc.IGNORED, reduction="sum")
    return total / (masks != voc.IGNORED).sum().clamp_min(1)


@torch.no_grad()
def judge(net: Fcn, test: Sequence[Segmented], progress: bool = True) -> tuple[Tensor, list[Shown]]:
    """Return the confusion matrix over all pixels, [21, 21] int64, and the first pictures' masks.

    Raises:
        CodialError: a file is damaged.
    """
    place = net.score.weight.device
    counts = torch.zeros(len(NAMES), len(NAMES), dtype=torch.int64)
    shown: list[Shown] = []
    for item in tqdm(test, desc="judging", delay=2, disable=not progress, leave=False):
        picture, truth = voc.masked(item)
        found = net.pixels(picture.to(place)).argmax(0).to(torch.uint8).cpu()
        counts += confusion(truth, found, len(NAMES))
        if len(shown) < _SHOWN:
            shown.append(Shown(item.path, truth, found))
    return counts, shown


def crops(
    train: Sequence[Segmented], config: SegmentationConfig, steps: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of crops, each picture once before any comes again, with a step's files decoded by threads.

    Yields:
        [B, 3, S, S] float32 in [0, 1] and [B, S, S] uint8, S being the config's crop.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = (config.zoom * config.scales[0], config.zoom * config.scales[1])
    order: list[int] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(steps):
            while len(order) < config.batch:
                order += torch.randperm(len(train), generator=generator).tolist()
            chosen, order = order[: config.batch], order[config.batch :]
            pairs = pool.map(voc.masked, [train[i] for i in chosen])
            cut = [crop(*pair, config.crop, scales, generator) for pair in pairs]
            yield torch.stack([image for image, _ in cut]), torch.stack([mask for _, mask in cut])


def _describe(items: Sequence[Segmented]) -> str:
    """Name the set, the number of masks and 16 hexadecimal digits of the SHA-256 over their names and contents."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.mask.name.encode() + b"\0" + hashlib.sha256(item.mask.read_bytes()).digest())
    return f"{items[0].mask.parents[1].name.lower()} {len(items)} masks {digest.hexdigest()[:16]}"
