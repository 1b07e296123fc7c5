"""Linear probes: how well a linear classifier reads the label off each frozen layer (section 4 of the paper)."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import one_hot
from tqdm import tqdm

from codial.data import Pictures
from codial.devices import uses_bf16
from codial.errors import CodialError
from codial.evaluate.features import taps, trunk_of
from codial.models import CONV_TAPS, Trunk
from codial.runs import Run
from codial.writing import write_safely

_PRECISIONS = {"auto": "bfloat16 where the device computes it", "bf16": "bfloat16", "float32": "float32"}


@dataclass(frozen=True)
class ProbeConfig:
    """The protocol: all layers are probed in one pass over one set of features."""

    layers: tuple[str, ...] = CONV_TAPS
    dims: int = 9000  # adaptive pooling to about this many numbers, as the paper
    pool: str = "avg"  # Zhang 2016 and GlobStat average; RotNet takes the maximum
    mirror: bool = True  # features of mirrored pictures too, the cached form of a random flip
    epochs: int = 20
    batch: int = 256  # at most a sixteenth of the pictures
    lr: float = 20.0  # cosine to 0; for standardised features brought to length 1, so that one rate fits every layer
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 0.05  # of the weights, divided by the number of pictures: many need less of it
    seeds: tuple[int, ...] = (0, 1, 2)  # of initialisation and order
    precision: str = "auto"  # of the features learnt from; bf16 where the device computes it. A report says which

    def __post_init__(self) -> None:
        if self.pool not in ("avg", "max"):
            raise CodialError(f"pool is {self.pool!r}; expected avg or max.")
        if self.precision not in _PRECISIONS:
            raise CodialError(f"precision is {self.precision!r}; expected {', '.join(_PRECISIONS)}.")
        if not self.layers or not self.seeds or min(self.epochs, self.batch, self.dims) < 1 or self.lr <= 0:
            raise CodialError(
                "A probe needs at least one layer, seed, epoch, picture a batch and dimension, and lr above 0."
            )

    def describe(self) -> str:
        """Return the protocol in a sentence."""
        seeds = f"{len(self.seeds)} probe seed{'s' * (len(self.seeds) > 1)}"
        return (
            f"{self.pool}-pooled to about {self.dims:,} dimensions, centred and scaled per channel (affine-free batch"
            f" norm), in {_PRECISIONS[self.precision]}, linear layer; SGD with Nesterov momentum {self.momentum:g},"
            f" learning rate {self.lr:g} on vectors of length 1 with cosine decay, weight decay {self.weight_decay:g}"
            f" divided by the number of pictures, batch {self.batch}, {self.epochs} epochs"
            f"{', with mirrored pictures' * self.mirror}; top-1 accuracy in percent, {seeds}"
        )


@dataclass(frozen=True)
class ProbeReport:
    """Accuracies in percent by layer, one a probe seed, with all that is needed to measure them again."""

    name: str
    accuracies: dict[str, tuple[float, ...]]
    dims: dict[str, int]
    protocol: ProbeConfig
    train: str
    test: str
    config_hash: str = ""

    def mean(self, layer: str) -> float:
        """Return a layer's accuracy in percent, the mean over probe seeds."""
        return sum(self.accuracies[layer]) / len(self.accuracies[layer])

    def spread(self, layer: str) -> float:
        """Return a layer's standard deviation over probe seeds, in points (0 for one seed)."""
        values, mean = self.accuracies[layer], self.mean(layer)
        return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_safely(Path(path), json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> "ProbeReport":
        """Read a report that `save` wrote.

        Raises:
            CodialError: the file is not such a report.
        """
        try:
            values = json.loads(Path(path).read_text())
            settings: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values["protocol"].items()
            }
            protocol = ProbeConfig(**{"precision": "float32"} | settings)  # reports of old had no other
            accuracies = {layer: tuple(v) for layer, v in values["accuracies"].items()}
            kept = {f.name: values[f.name] for f in fields(cls)} | {"protocol": protocol, "accuracies": accuracies}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CodialError(f"{path} is not a probe report ({error!r}).") from error
        return cls(**kept)

    def __str__(self) -> str:
        layers = [f"{layer} {self.mean(layer):.1f} ± {self.spread(layer):.1f}" for layer in self.accuracies]
        return f"{self.name}: " + ", ".join(layers)


def probe(
    source: Run | Trunk,
    train: Pictures,
    test: Pictures,
    config: ProbeConfig | None = None,
    *,
    progress: bool = True,
    device: str = "auto",
) -> ProbeReport:
    """Probe a frozen trunk's layers; the report of a run is also written to its `evaluations` folder.

    Args:
        source: a run or a trunk.
        train: labelled pictures that the classifiers learn from.
        test: labelled pictures that they are judged on.
        config: the protocol.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: the sets are unlabelled, or their classes differ.
    """
    config = config or ProbeConfig()
    _check_sets(train, test)
    trunk = trunk_of(source, device)
    half = uses_bf16(config.precision, next(trunk.parameters()).device)
    config = replace(config, precision="bf16" if half else "float32")
    known, asked = _inputs(trunk, train, test, config, progress)
    found: dict[str, list[float]] = {layer: [] for layer in config.layers}
    each = [(layer, seed) for layer in config.layers for seed in config.seeds]
    for layer, seed in tqdm(each, desc="probes", delay=2, disable=not progress, leave=False):
        vectors, place = asked[layer], asked[layer].device
        weight, bias = fit(known[layer], train.labels.to(place), len(train.classes), config, seed)
        right = torch.addmm(bias, vectors, weight.T).argmax(1) == test.labels.to(place)
        found[layer].append(100 * float(right.float().mean()))
    report = ProbeReport(
        name=source.config.name if isinstance(source, Run) else "trunk",
        accuracies={layer: tuple(values) for layer, values in found.items()},
        dims={layer: asked[layer].shape[1] for layer in config.layers},
        protocol=config,
        train=train.describe(),
        test=test.describe(),
        config_hash=source.provenance["config_hash"] if isinstance(source, Run) else "",
    )
    if isinstance(source, Run):
        report.save(source.folder / "evaluations" / f"probe-{train.name}.json")
    return report


def _inputs(
    trunk: Trunk, train: Pictures, test: Pictures, config: ProbeConfig, progress: bool
) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Return standardised vectors by layer: of the known pictures, plain and mirrored, and of those asked for."""
    pooled: dict[str, Any] = {"dims": config.dims, "pool": config.pool, "progress": progress}
    sides = (False, True) if config.mirror else (False,)
    raw = [taps(trunk, train, config.layers, mirror=mirror, **pooled) for mirror in sides]
    raw.append(taps(trunk, test, config.layers, **pooled))
    known, asked = {}, {}
    for layer in config.layers:
        *known[layer], asked[layer] = standardise(*(each.pop(layer) for each in raw), precision=config.precision)
    return known, asked


def standardise(*parts: Tensor, precision: str = "float32") -> list[Tensor]:
    """Batch norm without scale and shift by the statistics of all parts but the last, then to length 1 in mean square.

    A number's mean is its own, so that no constant part is left that only slows the fit (a bias can make up for any);
    its deviation is its channel's. The parts are overwritten where they can be.

    Args:
        parts: activations [N, C, ...]: the known ones, plain and mirrored, and last those that are asked for.
        precision: of the known ones' vectors.

    Returns:
        Vectors [N, C * ...] of each part, the last in float32.
    """
    channels, vectors = parts[0].shape[1], [x.flatten(1) for x in parts]
    mean = torch.stack([x.mean(0) for x in vectors[:-1]]).mean(0)
    maps = [x.sub_(mean).unflatten(1, (channels, -1)) for x in vectors]
    variance = torch.stack([vector_norm(x, dim=2).square().mean(0) / x.shape[2] for x in maps[:-1]]).mean(0)
    # Relative to the activations' size, which in an untrained layer may be a thousandth; channels that hardly vary are
    # not blown up.
    floor = 1e-2 * variance.mean() + torch.finfo(variance.dtype).tiny
    scale = (variance + floor).rsqrt() / mean.numel() ** 0.5
    *known, asked = (x.mul_(scale.view(-1, 1)).flatten(1) for x in maps)
    half = uses_bf16(precision, asked.device)
    return [*(x.bfloat16() if half else x for x in known), asked]


def _check_sets(train: Pictures, test: Pictures) -> None:
    for images in (train, test):
        if not images.labelled:
            raise CodialError(f"{images} has no labels; a probe needs them (put each class into its own folder).")
    if train.classes != test.classes:
        raise CodialError(f"The classes differ: {train.classes} in {train.name}, {test.classes} in {test.name}.")


def fit(sides: list[Tensor], labels: Tensor, classes: int, config: ProbeConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Return the weights [C, F] and biases [C] of one layer's classifier, in float32.

    Its generator is its own, so that no layer depends on which others are probed. The gradient of softmax and
    cross-entropy is written out: so small a problem spends longer in autograd than in its sums.
    """
    generator, place = torch.Generator().manual_seed(seed), labels.device
    weight = (0.01 * torch.randn(classes, sides[0].shape[1], generator=generator)).to(place)
    bias = torch.zeros(classes, device=place)
    speeds = torch.zeros_like(weight), torch.zeros_like(bias)
    batch = max(1, min(config.batch, len(labels) // _LEAST_STEPS))
    steps = len(labels) // batch
    targets, decay = one_hot(labels, classes).to(weight.dtype), config.weight_decay / len(labels)
    for epoch in range(config.epochs):
        order = torch.randperm(len(labels), generator=generator)[: steps * batch].to(place)
        turned = torch.randint(len(sides), (steps,), generator=generator).tolist()
        for step, chosen in enumerate(order.split(batch)):
            x = sides[turned[step]].index_select(0, chosen)
            scores = (x @ weight.T.to(x.dtype)).float() + bias
            error = (scores.softmax(1) - targets.index_select(0, chosen)) / batch
            gradients = (error.T.to(x.dtype) @ x).float().add_(weight, alpha=decay), error.sum(0)
            rate = config.lr * (1 + math.cos(math.pi * (epoch + step / steps) / config.epochs)) / 2
            for value, speed, gradient in zip((weight, bias), speeds, gradients, strict=True):
                speed.mul_(config.momentum).add_(gradient)
                value.add_(gradient, alpha=-rate).add_(speed, alpha=-rate * config.momentum)
    return weight, bias


_LEAST_STEPS = 16  # an epoch: few pictures are taken in smaller batches
