"""Probes without cached features: the classifiers of all layers are trained on the same random crops."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm
from tqdm import tqdm

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.features import require_finite
from codial.evaluate.probes.cached import PRECISIONS
from codial.evaluate.probes.crops import center_crops, random_crops
from codial.evaluate.probes.targets import METRICS, Labels, Tags, probe_targets
from codial.models import Backbone
from codial.utils.devices import to_device, uses_bf16
from codial.utils.progress import progress_bar


@dataclass(frozen=True, kw_only=True)
class OnlineProbe(ABC):
    """Base class of the protocols of Zhang et al. and GlobStat.

    A seed determines order, crops and initial weights. Each seed has crops of its own, so that the standard deviation
    over seeds is that of complete repetitions.
    """

    unit = ""  # of `length`: steps or epochs
    original = 0  # published length

    layers: tuple[str, ...] = ()  # by default all layers with maps; reports name them
    crop: float  # side of random and center crops, as a fraction of the image's
    batch: int
    rates: tuple[float, ...]  # learning rates, one after another
    breaks: tuple[float, ...]  # ends of all learning rates but the last, as fractions of the training
    momentum: float = 0.9
    nesterov: bool
    weight_decay: float = 5e-4  # of the weights, not the biases
    bias_rate: float  # factor of the biases' learning rate
    norm_eps: float
    norm_momentum: float  # of batch norm's running statistics, which are plain means for the first 1 / it batches
    seeds: tuple[int, ...] = (0, 1, 2)
    precision: str = "auto"  # of the backbone: bf16, float32, or bf16 if supported; recorded in the report

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise CodialError(f"precision is {self.precision!r}; expected {', '.join(PRECISIONS)}.")
        if not self.seeds or self.length < 1 or self.batch < 2 or not 0 < self.crop <= 1:
            raise CodialError(
                f"{self}: expected at least one seed, one {self.unit[:-1]}, two images per batch, and crop in (0, 1]."
            )
        if len(self.rates) != len(self.breaks) + 1 or list(self.breaks) != sorted(self.breaks):
            raise CodialError(
                f"rates are {self.rates}, breaks {self.breaks}; expected one rate more, breaks ascending."
            )

    def check(self, backbone: Backbone) -> None:
        """Check that the protocol knows how to pool the layers.

        Raises:
            CodialError: a layer is no map, or the protocol does not define its pooling.
        """
        if not set(self.layers) <= set(backbone.map_layers):
            raise CodialError(
                f"layers are {', '.join(self.layers)}; expected some of {', '.join(backbone.map_layers)}, whose"
                " activations are maps."
            )

    @property
    @abstractmethod
    def length(self) -> int:
        """Length of the training, in `unit`."""

    @abstractmethod
    def steps_for(self, count: int) -> int:
        """Return the number of batches for a dataset of `count` images."""

    @abstractmethod
    def pooled(self, layer: str, maps: Tensor) -> Tensor:
        """Pool a layer's maps [B, C, h, w] to the classifier's inputs, [B, C, s, s]."""

    @abstractmethod
    def pooling(self) -> str:
        """Return a description of the protocol's source and its pooling."""

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
            f"{self.pooling()}, affine-free batch norm, a linear layer each, on the frozen backbone in"
            f" {PRECISIONS[self.precision]}; random crops of {self.crop:.3g} of the side and mirror, a center crop at"
            f" test; SGD with {'Nesterov ' * self.nesterov}momentum {self.momentum:g}, learning rates {rates} from 0,"
            f" {breaks} % of {self.length:,} {self.unit}{shortened}, weight decay {self.weight_decay:g}{bias}, batch"
            f" {self.batch}; {METRICS[metric]}, {seeds}"
        )

    def measure(
        self, backbone: Backbone, train: Dataset, test: Dataset, progress: bool
    ) -> tuple[dict[str, list[float]], dict[str, int]]:
        """Probe each layer: return its scores in percent, one per seed, and its number of dimensions."""
        self.check(backbone)
        steps = self.steps_for(len(train))
        with progress_bar(total=steps * len(self.seeds), desc="probes", show=progress) as bar:
            classifiers = [_train_classifiers(self, backbone, train, steps, seed, bar) for seed in self.seeds]
        scores = _test_scores(self, backbone, test, classifiers, progress)
        targets = probe_targets(test, next(backbone.parameters()).device)
        results = {layer: [targets.score(each) for each in scores[layer]] for layer in self.layers}
        return results, {layer: classifiers[0][layer].weight.shape[1] for layer in self.layers}


class LayerClassifier:
    """Batch norm and linear classifier of one layer.

    Activations are first divided by their root mean square in the first batch. Otherwise batch norm's epsilon would
    dominate in untrained backbones, whose activations may be a million times smaller than in trained ones.

    Args:
        maps: [B, C, h, w], the first batch, pooled.
        classes: number of outputs.
        config: the protocol.
        generator: generator of the initial weights, N(0, 0.01).
    """

    def __init__(self, maps: Tensor, classes: int, config: OnlineProbe, generator: torch.Generator) -> None:
        device = maps.device
        self.config = config
        self.batches = 0
        self.scale = maps.square().mean().rsqrt().clamp(max=1e30)
        self.mean = torch.zeros(maps.shape[1], device=device)
        self.variance = torch.ones(maps.shape[1], device=device)
        self.weight = (0.01 * torch.randn(classes, maps[0].numel(), generator=generator)).to(device)
        self.bias = torch.zeros(classes, device=device)
        groups: list[dict[str, Any]] = [
            {"params": [self.weight], "weight_decay": config.weight_decay},
            {"params": [self.bias]},
        ]
        self.optimizer = torch.optim.SGD(groups, config.rates[0], config.momentum, nesterov=config.nesterov)

    def vectors(self, maps: Tensor, training: bool) -> Tensor:
        """Return normalized vectors [B, F]: with the batch's statistics in training, else with the running ones."""
        self.batches += training
        momentum = max(self.config.norm_momentum, 1 / max(1, self.batches))
        statistics = self.mean, self.variance
        x = batch_norm(maps * self.scale, *statistics, training=training, momentum=momentum, eps=self.config.norm_eps)
        return x.flatten(1)

    def scores(self, vectors: Tensor) -> Tensor:
        """Return the logits, [B, C]."""
        return torch.addmm(self.bias, vectors, self.weight.T)

    def step(self, maps: Tensor, targets: Labels | Tags, rows: Tensor, rate: float) -> None:
        """Take one step of gradient descent on a batch, the images `rows` of the training set."""
        x = self.vectors(maps, training=True)
        gradient = targets.gradient(self.scores(x), rows)
        self.weight.grad = gradient.T @ x
        self.bias.grad = gradient.sum(0)
        weights, biases = self.optimizer.param_groups
        weights["lr"] = rate
        biases["lr"] = rate * self.config.bias_rate
        self.optimizer.step()


def _train_classifiers(
    config: OnlineProbe, backbone: Backbone, train: Dataset, steps: int, seed: int, bar: tqdm
) -> dict[str, LayerClassifier]:
    """Return the classifiers of one seed by layer; none depends on which other layers are probed."""
    generator = torch.Generator().manual_seed(seed)
    device = next(backbone.parameters()).device
    targets = probe_targets(train, device)
    classifiers = {}
    for step, (rows, crops) in enumerate(_batches(config, train, steps, backbone.size, device, generator)):
        for layer, maps in _pooled_maps(config, backbone, crops).items():
            if step == 0:
                require_finite(maps, layer)
                weights = torch.Generator().manual_seed(seed)
                classifiers[layer] = LayerClassifier(maps, targets.classes, config, weights)
            classifiers[layer].step(maps, targets, rows, config.rate(step, steps))
        bar.update()
    return classifiers


def _batches(
    config: OnlineProbe, train: Dataset, steps: int, size: int, device: torch.device, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield row indices [B] and crops of each batch, on the device; the next batch is made in the background."""
    batch = min(config.batch, len(train))
    order = _order(len(train), batch, generator)

    def make_batch() -> tuple[Tensor, Tensor]:
        rows = next(order)
        crops = random_crops(to_device(train.batch(rows), device), config.crop, size, generator)
        return to_device(rows, device), crops

    with ThreadPoolExecutor(1, "crops") as pool:
        pending = pool.submit(make_batch)
        for step in range(steps):
            batch_of_step = pending.result()
            if step + 1 < steps:
                pending = pool.submit(make_batch)
            yield batch_of_step


def _order(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of random permutations without end; the incomplete last batch of each epoch is dropped."""
    while True:
        yield from torch.randperm(count, generator=generator)[: count // batch * batch].split(batch)


@torch.no_grad()
def _pooled_maps(config: OnlineProbe, backbone: Backbone, crops: Tensor) -> dict[str, Tensor]:
    """Return each layer's pooled maps of a batch, float32."""
    half = uses_bf16(config.precision, crops.device)
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=half):
        maps = backbone.features(crops, config.layers)
    return {layer: config.pooled(layer, maps[layer].float()) for layer in config.layers}


def _test_scores(
    config: OnlineProbe,
    backbone: Backbone,
    test: Dataset,
    classifiers: list[dict[str, LayerClassifier]],
    progress: bool,
) -> dict[str, list[Tensor]]:
    """Return by layer, for each seed, the scores [N, C] of the images' center crops."""
    device = next(backbone.parameters()).device
    parts: dict[str, list[list[Tensor]]] = {layer: [[] for _ in classifiers] for layer in config.layers}
    batches = torch.arange(len(test)).split(config.batch)
    for rows in progress_bar(batches, desc="evaluation", show=progress):
        crops = center_crops(to_device(test.batch(rows), device), config.crop, backbone.size)
        for layer, maps in _pooled_maps(config, backbone, crops).items():
            for by_layer, part in zip(classifiers, parts[layer], strict=True):
                classifier = by_layer[layer]
                part.append(classifier.scores(classifier.vectors(maps, training=False)))
    return {layer: [torch.cat(part) for part in each] for layer, each in parts.items()}
