"""VOC2007 detection: Fast R-CNN over a trunk, fine-tuned on several scales and judged on one.

The schedule is that of Decouple's and RotNet's transfer, which the paper's Table 3 follows; a run of fewer steps falls
through its rates in the same proportions and needs higher ones.
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
from tqdm import tqdm

from codial.data import voc
from codial.data.decode import WORKERS
from codial.data.pictures import check_whole
from codial.data.voc import Annotated
from codial.errors import CodialError
from codial.evaluate.features import trunk_of
from codial.evaluate.transfer.balance import balance
from codial.evaluate.transfer.detector import FastRcnn, loss_of, rescale
from codial.evaluate.transfer.hits import Detections, precisions
from codial.evaluate.transfer.matching import BACKGROUND, FOREGROUND, SHARE, Sampled, sample
from codial.evaluate.transfer.proposals import ProposalConfig, propose, recall
from codial.evaluate.transfer.report import TransferReport, mean_of
from codial.models import Trunk
from codial.runs import Run

NAME = "transfer-voc2007-detection"
_SHOWN = 6  # test pictures whose detections are kept
_MEASURED = 8  # batches on which batch norm's statistics are measured
_MIRROR = (-1.0, 1.0, 1.0, 1.0)  # what offsets are multiplied by in a mirrored picture


@dataclass(frozen=True)
class DetectionConfig:
    """The protocol."""

    steps: int = 200_000
    pictures: int = 2  # a step
    boxes: int = 128  # a step, over all its pictures
    lr: float = 1e-3  # a tenth after 40 % of the steps, a hundredth after 80 %; a few hundred steps need 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    scales: tuple[int, ...] = (480, 576, 688, 864, 1200)  # pixels, shorter sides learnt from; for 64-pixel trunks less
    scale: int = 600  # pixels, the shorter side that is judged
    longest: int = 2000  # pixels, of the longer side: oblong pictures are brought to less
    threshold: float = 0.01  # of a detection's probability
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    seed: int = 0  # of the last layers, order, scales, mirroring and the boxes drawn

    def __post_init__(self) -> None:
        leasts = {"steps": 0, "pictures": 1, "boxes": 1, "scale": 1, "longest": 1, "seed": 0}
        for name, least in leasts.items():
            check_whole(name, getattr(self, name), least)
        for scale in self.scales:
            check_whole("a scale", scale, 1)
        if not self.scales or self.lr <= 0 or not 0 <= self.threshold < 1:
            raise CodialError(f"{self} needs one scale or more, lr above 0, and threshold in [0, 1).")
        if self.boxes < self.pictures:
            raise CodialError(f"boxes is {self.boxes} a step for {self.pictures} pictures; each needs one or more.")

    def describe(self) -> str:
        """Return the protocol in a sentence."""
        return (
            f"Fast R-CNN on {self.proposals.describe()}; conv5 pooled by box, fc6 and fc7 as trained before, all but"
            f" conv1 fine-tuned; batch norm's statistics measured on {_MEASURED} batches before, then frozen,"
            f" and weights divided by the deviations;"
            f" {self.steps:,} steps of {self.pictures} pictures and {self.boxes} boxes, {100 * SHARE:g} % of them"
            f" foreground (overlap of {FOREGROUND:g} or more, background from {BACKGROUND:g}), shorter side"
            f" {', '.join(map(str, self.scales))}, mirrored; SGD with momentum {self.momentum:g}, learning rate"
            f" {self.lr:g}, a tenth after 40 % and a hundredth after 80 %, weight decay {self.weight_decay:g}; judged"
            f" at a shorter side of {self.scale}, longer ones at most {self.longest}; scores of {self.threshold:g} or"
            " more, suppression at 0.3 by class, 100 detections a picture at most; difficult objects neither learnt nor"
            " judged; average precision at 11 recalls, overlap 0.5"
        )


@dataclass(frozen=True)
class Seen:
    """A test picture with its objects and what was found in it."""

    truth: Annotated
    found: Detections


@dataclass(frozen=True)
class Detection:
    """What the trunk is worth for detection.

    Attributes:
        report: average precisions by VOC2007's rule, the mean of the best precision at 11 recalls, in percent.
        areas: the same as areas under the curve, VOC2010's rule, in percent.
        recall: percent of the test pictures' objects that some proposal overlaps by half or more, a bound for the rest.
        losses: [steps, 2] float32, the cross-entropy and the boxes' smooth L1 loss of each step.
        shown: the first test pictures.
    """

    report: TransferReport
    areas: dict[str, float | None]
    recall: float
    losses: Tensor = field(repr=False)
    shown: list[Seen] = field(repr=False)


def detect(
    source: Run | Trunk,
    train: Sequence[Annotated],
    test: Sequence[Annotated],
    config: DetectionConfig | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
    device: str = "auto",
) -> Detection:
    """Fine-tune a detector over a copy of the trunk; the report of a run is also written to its folder.

    Args:
        source: a run or a trunk, which stays as it is.
        train: pictures and boxes to learn from, such as `codial.data.voc.annotated(root, "trainval")`.
        test: those to judge on.
        config: the protocol; with no steps the head stays untrained.
        cache: folder where proposals are kept; of a run, "proposals" beside it when left out.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: no pictures, or none with an object to learn; a picture does not decode; OpenCV's contributed
            modules are not installed; the loss is not finite any more.
    """
    config = config or DetectionConfig()
    known, judged = ([item for item in items if not bool(item.difficult.all())] for items in (train, test))
    if not known or not judged:
        raise CodialError(
            f"Detection got {len(known)} pictures with objects to learn from (of {len(train)}) and {len(judged)} to be"
            f" judged on (of {len(test)}); it needs some of both, with objects that are not difficult."
        )
    if cache is None and isinstance(source, Run):
        cache = source.folder.parent / "proposals"
    boxes = propose([*known, *test], None if cache is None else Path(cache), config.proposals, progress=progress)
    trunk, generator = trunk_of(source, device), torch.Generator().manual_seed(config.seed)
    net = FastRcnn(deepcopy(trunk), len(voc.CLASSES), generator).to(next(trunk.parameters()).device)
    losses = fine_tune(net, known, boxes[: len(known)], config, progress)
    found = judge(net, test, boxes[len(known) :], config, progress)
    points, areas = (precisions(found, test, voc.CLASSES, form) for form in ("11-point", "area"))
    report = TransferReport(
        metric="mAP",
        value=mean_of(points),
        classes=points,
        train=_describe(train),
        test=_describe(test),
        protocol=config.describe(),
        seed=config.seed,
    )
    bound = recall(test, boxes[len(known) :])
    if isinstance(source, Run):
        report.save(source, NAME, value_area=mean_of(areas), classes_area=areas, recall=bound)
    shown = [Seen(*pair) for pair in zip(test[:_SHOWN], found, strict=False)]
    return Detection(report, areas, bound, losses, shown)


def fine_tune(
    net: FastRcnn,
    train: Sequence[Annotated],
    proposals: Sequence[Tensor],
    config: DetectionConfig,
    progress: bool = True,
) -> Tensor:
    """Train a detector in place and return its losses, [steps, 2]: cross-entropy and the boxes'.

    Raises:
        CodialError: a picture does not decode, or the loss is not finite any more.
    """
    place = net.scores.weight.device
    measured = examples(train, proposals, config, _MEASURED, seed=config.seed + 1)
    balance(net, (partial(_look, net, *each) for each in measured))
    values = [each for each in net.parameters() if each.requires_grad]
    optimiser = torch.optim.SGD(values, config.lr, config.momentum, weight_decay=config.weight_decay)
    losses = torch.zeros(config.steps, 2)
    each = examples(train, proposals, config, config.steps, config.seed)
    bar = tqdm(each, "fine-tuning", config.steps, delay=2, disable=not progress, leave=False)
    for step, (images, drawn) in enumerate(bar):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * 0.1 ** (5 * step // (2 * config.steps))
        scores, offsets = _look(net, images, drawn)
        labels, wanted = (torch.cat([getattr(s, name) for s in drawn]).to(place) for name in ("labels", "offsets"))
        parts = torch.stack(loss_of(scores, offsets, labels, wanted))
        optimiser.zero_grad()
        parts.sum().backward()
        optimiser.step()
        losses[step] = parts.detach()
        if not losses[step].isfinite().all():
            raise CodialError(f"The loss is {losses[step].tolist()} at step {step}; choose a rate below {config.lr:g}.")
    return losses


def _look(net: FastRcnn, images: list[Tensor], drawn: list[Sampled]) -> tuple[Tensor, Tensor]:
    place = net.scores.weight.device
    return net([image.to(place) for image in images], [each.boxes.to(place) for each in drawn])


def judge(
    net: FastRcnn,
    test: Sequence[Annotated],
    proposals: Sequence[Tensor],
    config: DetectionConfig,
    progress: bool = True,
) -> list[Detections]:
    """Return what is found in each picture, in its own pixels, on the CPU.

    Raises:
        CodialError: a picture does not decode.
    """
    place, found = net.scores.weight.device, []
    pairs = zip(test, proposals, strict=True)
    for item, boxes in tqdm(pairs, "judging", len(test), delay=2, disable=not progress, leave=False):
        image, factor = rescale(voc.pixels(item.path), config.scale, config.longest)
        each = net.detect(image.to(place), (boxes * factor).to(place), config.threshold)
        found.append(Detections(each.boxes.cpu() / factor, each.scores.cpu(), each.labels.cpu()))
    return found


def examples(
    train: Sequence[Annotated], proposals: Sequence[Tensor], config: DetectionConfig, steps: int, seed: int
) -> Iterator[tuple[list[Tensor], list[Sampled]]]:
    """Yield pictures and boxes to learn from, each picture once before any comes again.

    Yields:
        Images, each [3, H, W] float32 in [0, 1], at a scale of its own and perhaps mirrored, and the boxes drawn in it.
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(steps):
            while len(order) < config.pictures:
                order += torch.randperm(len(train), generator=generator).tolist()
            chosen, order = order[: config.pictures], order[config.pictures :]
            pictures = pool.map(voc.pixels, [train[i].path for i in chosen])
            pairs = [
                example(p, train[i], proposals[i], config, generator) for p, i in zip(pictures, chosen, strict=True)
            ]
            yield [image for image, _ in pairs], [drawn for _, drawn in pairs]


def example(
    picture: Tensor, item: Annotated, proposals: Tensor, config: DetectionConfig, generator: torch.Generator
) -> tuple[Tensor, Sampled]:
    """Draw a scale, a side and boxes for one picture.

    Args:
        picture: [3, H, W] uint8.
        item: its objects.
        proposals: [n, 4] in its pixels.
        config: the protocol.
        generator: of what is drawn.

    Returns:
        The image, [3, h, w] float32 in [0, 1], and the boxes in its pixels.
    """
    count = config.boxes // config.pictures
    drawn = sample(proposals, item.boxes, item.labels, item.difficult, count, generator)
    scale = config.scales[int(torch.randint(len(config.scales), (), generator=generator))]
    image, factor = rescale(picture, scale, config.longest)
    boxes = drawn.boxes * factor
    if torch.rand((), generator=generator) < 0.5:
        return image, Sampled(boxes, drawn.labels, drawn.offsets)
    left, top, right, bottom = boxes.unbind(1)
    width = image.shape[-1]
    boxes = torch.stack((width - right, top, width - left, bottom), 1)
    return image.flip(-1), Sampled(boxes, drawn.labels, drawn.offsets * boxes.new_tensor(_MIRROR))


def _describe(items: Sequence[Annotated]) -> str:
    """Name the set, its pictures and objects, and 16 hexadecimal digits of the SHA-256 over names and boxes."""
    digest, count = hashlib.sha256(), 0
    for item in items:
        digest.update(
            f"{item.path.name}\0{item.boxes.tolist()}{item.labels.tolist()}{item.difficult.tolist()}".encode()
        )
        count += len(item.boxes)
    name = items[0].path.parents[1].name.lower()
    return f"{name} {len(items)} pictures, {count} objects {digest.hexdigest()[:16]}"
