"""Probes without kept features: every layer's classifier learns from the same random crops, batch after batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import batch_norm
from tqdm import tqdm

from codial.data import Pictures
from codial.devices import to_device, uses_bf16
from codial.errors import CodialError
from codial.evaluate.cached import PRECISIONS
from codial.evaluate.crops import central_crops, random_crops
from codial.evaluate.task import METRICS, Labels, Tags, task_of
from codial.models import CONV_TAPS, Trunk


@dataclass(frozen=True, kw_only=True)
class Online(ABC):
    """What the two older protocols share; each gives the values.

    A seed decides order, crops and first weights, and each seed sees pictures of its own, so that the spread over seeds
    is that of measuring again.
    """

    unit = ""  # what the length is counted in
    original = 0  # the length that was published

    layers: tuple[str, ...] = CONV_TAPS
    crop: float  # side of the random and the central crop, as a part of the picture's
    batch: int
    rates: tuple[float, ...]  # learning rates, one after another
    breaks: tuple[float, ...]  # where the next rate begins, as parts of the whole length
    momentum: float = 0.9
    nesterov: bool
    weight_decay: float = 5e-4  # of the weights, not of the biases
    bias_rate: float  # factor of the biases' learning rate
    norm_eps: float
    norm_momentum: float  # of batch norm's running statistics; plain means while fewer batches than 1 / it are seen
    seeds: tuple[int, ...] = (0, 1, 2)
    precision: str = "auto"  # of the trunk; bf16 where the device computes it. A report says which

    def __post_init__(self) -> None:
        if not self.layers or not set(self.layers) <= set(CONV_TAPS):
            raise CodialError(
                f"layers are {', '.join(self.layers) or 'none'}; expected some of {', '.join(CONV_TAPS)}."
            )
        if self.precision not in PRECISIONS:
            raise CodialError(f"precision is {self.precision!r}; expected {', '.join(PRECISIONS)}.")
        if not self.seeds or self.length < 1 or self.batch < 1 or not 0 < self.crop <= 1:
            raise CodialError(
                f"A probe needs at least one seed, {self.unit[:-1]} and picture a batch, and a crop in (0, 1]."
            )
        if len(self.rates) != len(self.breaks) + 1 or list(self.breaks) != sorted(self.breaks):
            raise CodialError(
                f"rates are {self.rates}, breaks {self.breaks}; expected one rate more, breaks ascending."
            )

    @property
    @abstractmethod
    def length(self) -> int:
        """How long it learns, in its unit."""

    @abstractmethod
    def steps_for(self, count: int) -> int:
        """Return how many batches that is for a set of `count` pictures."""

    @abstractmethod
    def pooled(self, layer: str, maps: Tensor) -> Tensor:
        """Return a layer's maps [B, C, h, w] as they are read, pooled."""

    @abstractmethod
    def pooling(self) -> str:
        """Say where it comes from and how it pools."""

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.rates[sum(step >= round(part * steps) for part in self.breaks)]

    def describe(self, metric: str = "top-1") -> str:
        """Return the protocol in a sentence."""
        seeds = f"{len(self.seeds)} probe seed{'s' * (len(self.seeds) > 1)}"
        rates = ", ".join(f"{rate:g}" for rate in self.rates)
        breaks = ", ".join(f"{100 * part:.3g}" for part in self.breaks)
        shortened = f", where the original has {self.original:,}" * (self.length != self.original)
        bias = f" and the biases' rate times {self.bias_rate:g}" * (self.bias_rate != 1)
        return (
            f"{self.pooling()}, affine-free batch norm, a linear layer each, on the frozen trunk in"
            f" {PRECISIONS[self.precision]}; random crops of {self.crop:.3g} of the side and mirror, a central crop at"
            f" test; SGD with {'Nesterov ' * self.nesterov}momentum {self.momentum:g}, learning rates {rates} from 0,"
            f" {breaks} % of {self.length:,} {self.unit}{shortened}, weight decay {self.weight_decay:g}{bias}, batch"
            f" {self.batch}; {METRICS[metric]}, {seeds}"
        )

    def measure(
        self, trunk: Trunk, train: Pictures, test: Pictures, progress: bool
    ) -> tuple[dict[str, list[float]], dict[str, int]]:
        """Return what each layer reaches, a number a seed in percent, and how many numbers are read of it."""
        steps = self.steps_for(len(train))
        with tqdm(total=steps * len(self.seeds), desc="probes", delay=2, disable=not progress, leave=False) as bar:
            learnt = [_learn(self, trunk, train, steps, seed, bar) for seed in self.seeds]
        scores = _scores(self, trunk, test, learnt, progress)
        task = task_of(test, next(trunk.parameters()).device)
        found = {layer: [task.judge(each) for each in scores[layer]] for layer in self.layers}
        return found, {layer: learnt[0][layer].weight.shape[1] for layer in self.layers}


class Reader:
    """One layer's batch norm and linear classifier.

    Activations are first divided by their root mean square in the first batch, so that batch norm's epsilon means the
    same for an untrained trunk, whose activations may be a millionth, as for a trained one.

    Args:
        maps: [B, C, h, w], the first batch, pooled.
        classes: outputs.
        config: the protocol.
        generator: of the first weights, N(0, 0.01).
    """

    def __init__(self, maps: Tensor, classes: int, config: Online, generator: torch.Generator) -> None:
        self.config, self.batches, place = config, 0, maps.device
        self.scale = maps.square().mean().rsqrt().clamp(max=1e30)
        self.mean, self.variance = torch.zeros(maps.shape[1], device=place), torch.ones(maps.shape[1], device=place)
        self.weight = (0.01 * torch.randn(classes, maps[0].numel(), generator=generator)).to(place)
        self.bias = torch.zeros(classes, device=place)
        self.speeds = torch.zeros_like(self.weight), torch.zeros_like(self.bias)

    def vectors(self, maps: Tensor, training: bool) -> Tensor:
        """Return normalised vectors [B, F]: by the batch's own statistics in training, else by the running ones."""
        self.batches += training
        momentum = max(self.config.norm_momentum, 1 / max(1, self.batches))
        kept = self.mean, self.variance
        x = batch_norm(maps * self.scale, *kept, training=training, momentum=momentum, eps=self.config.norm_eps)
        return x.flatten(1)

    def scores(self, vectors: Tensor) -> Tensor:
        """Return [B, C]."""
        return torch.addmm(self.bias, vectors, self.weight.T)

    def learn(self, maps: Tensor, task: Labels | Tags, rows: Tensor, rate: float) -> None:
        """Take one step of gradient descent on a batch, the pictures at `rows`."""
        config, x = self.config, self.vectors(maps, training=True)
        error = task.error(self.scores(x), rows)
        weights = (error.T @ x).add_(self.weight, alpha=config.weight_decay)
        steps = (self.weight, weights, rate), (self.bias, error.sum(0), rate * config.bias_rate)
        for (value, gradient, step), speed in zip(steps, self.speeds, strict=True):
            speed.mul_(config.momentum).add_(gradient)
            value.add_(gradient.add(speed, alpha=config.momentum) if config.nesterov else speed, alpha=-step)


def _learn(config: Online, trunk: Trunk, train: Pictures, steps: int, seed: int, bar: tqdm) -> dict[str, Reader]:
    """Return the classifiers of one seed; none depends on which other layers are probed."""
    generator, place = torch.Generator().manual_seed(seed), next(trunk.parameters()).device
    task, readers = task_of(train, place), {}
    for step, (rows, views) in enumerate(_batches(config, train, steps, trunk.size, place, generator)):
        for layer, maps in _maps(config, trunk, views).items():
            if step == 0:
                readers[layer] = Reader(maps, task.classes, config, torch.Generator().manual_seed(seed))
            readers[layer].learn(maps, task, rows, config.rate(step, steps))
        bar.update()
    return readers


def _batches(
    config: Online, train: Pictures, steps: int, size: int, place: torch.device, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows [B] and the cropped pictures of each step, on the device; the next is made in the background."""
    batch = min(config.batch, len(train))
    order = _order(len(train), batch, generator)

    def make() -> tuple[Tensor, Tensor]:
        rows = next(order)
        views = random_crops(to_device(train.batch(rows), place), config.crop, size, generator)
        return to_device(rows, place), views

    with ThreadPoolExecutor(1, "crops") as pool:
        ahead = pool.submit(make)
        for step in range(steps):
            made = ahead.result()
            if step + 1 < steps:
                ahead = pool.submit(make)
            yield made


def _order(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches without end, epoch after epoch; what is left of an epoch is left out of it."""
    while True:
        yield from torch.randperm(count, generator=generator)[: count // batch * batch].split(batch)


@torch.no_grad()
def _maps(config: Online, trunk: Trunk, views: Tensor) -> dict[str, Tensor]:
    """Return each layer's pooled maps of a batch, in float32."""
    half = uses_bf16(config.precision, views.device)
    with torch.autocast(views.device.type, torch.bfloat16, enabled=half):
        found = trunk.taps(views, config.layers)
    return {layer: config.pooled(layer, found[layer].float()) for layer in config.layers}


def _scores(
    config: Online, trunk: Trunk, test: Pictures, learnt: list[dict[str, Reader]], progress: bool
) -> dict[str, list[Tensor]]:
    """Return by layer, for each seed, the scores [N, C] of the pictures' central crops."""
    place = next(trunk.parameters()).device
    parts: dict[str, list[list[Tensor]]] = {layer: [[] for _ in learnt] for layer in config.layers}
    batches = torch.arange(len(test)).split(config.batch)
    for rows in tqdm(batches, desc="judging", delay=2, disable=not progress, leave=False):
        views = central_crops(to_device(test.batch(rows), place), config.crop, trunk.size)
        for layer, maps in _maps(config, trunk, views).items():
            for readers, part in zip(learnt, parts[layer], strict=True):
                reader = readers[layer]
                part.append(reader.scores(reader.vectors(maps, training=False)))
    return {layer: [torch.cat(part) for part in each] for layer, each in parts.items()}
