"""Linear probes: how well a linear classifier reads the label off each frozen layer (section 4 of the paper)."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate.features import taps, trunk_of
from codial.models import CONV_TAPS, Trunk
from codial.runs import Run, write_safely


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
    weight_decay: float = 0.0
    seeds: tuple[int, ...] = (0, 1, 2)  # of initialisation and order

    def __post_init__(self) -> None:
        if self.pool not in ("avg", "max"):
            raise CodialError(f"pool is {self.pool!r}; expected avg or max.")
        if not self.layers or not self.seeds or min(self.epochs, self.batch, self.dims) < 1 or self.lr <= 0:
            raise CodialError(
                "A probe needs at least one layer, seed, epoch, picture a batch and dimension, and lr above 0."
            )

    def describe(self) -> str:
        """Return the protocol in a sentence."""
        seeds = f"{len(self.seeds)} probe seed{'s' * (len(self.seeds) > 1)}"
        return (
            f"{self.pool}-pooled to about {self.dims:,} dimensions, standardised per channel (affine-free batch norm),"
            f" linear layer; SGD with Nesterov momentum {self.momentum:g}, learning rate {self.lr:g} on vectors of"
            f" length 1 with cosine decay, weight decay {self.weight_decay:g}, batch {self.batch},"
            f" {self.epochs} epochs{', with mirrored pictures' * self.mirror}; top-1 accuracy in percent, {seeds}"
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
            protocol = ProbeConfig(**settings)
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
    known, asked = _inputs(trunk_of(source, device), train, test, config, progress)
    labels, answers = (images.labels.to(asked[config.layers[0]].device) for images in (train, test))
    found: dict[str, list[float]] = {layer: [] for layer in config.layers}
    for seed in config.seeds:
        linears = _fit(known, labels, len(train.classes), config, seed, progress)
        for layer, linear in linears.items():
            with torch.no_grad():
                right = linear(asked[layer]).argmax(1) == answers
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
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Return standardised vectors by layer: of the known pictures, plain and mirrored, and of those asked for."""
    pooled: dict[str, Any] = {"dims": config.dims, "pool": config.pool, "progress": progress}
    sides = (False, True) if config.mirror else (False,)
    known = [taps(trunk, train, config.layers, mirror=mirror, **pooled) for mirror in sides]
    asked = taps(trunk, test, config.layers, **pooled)
    for layer in config.layers:
        standardise = _Standardise([side[layer] for side in known])
        asked[layer] = standardise(asked[layer])
        for side in known:
            side[layer] = standardise(side[layer])
    return known, asked


def _check_sets(train: Pictures, test: Pictures) -> None:
    for images in (train, test):
        if not images.labelled:
            raise CodialError(f"{images} has no labels; a probe needs them (put each class into its own folder).")
    if train.classes != test.classes:
        raise CodialError(f"The classes differ: {train.classes} in {train.name}, {test.classes} in {test.name}.")


class _Standardise:
    """Batch norm without scale and shift, its statistics those of all known pictures: per channel, then to length 1.

    Args:
        known: activations [N, C, ...] of the pictures that the classifiers learn from, plain and mirrored.
    """

    def __init__(self, known: list[Tensor]) -> None:
        channels = [x.transpose(0, 1).flatten(1) for x in known]  # [C, N * ...]
        self.mean = torch.stack([c.mean(1) for c in channels]).mean(0)
        variance = torch.stack([c.square().mean(1) for c in channels]).mean(0) - self.mean.square()
        # Relative to the activations' size, which in an untrained layer may be a thousandth; channels that hardly
        # vary are not blown up.
        floor = 1e-2 * variance.mean() + torch.finfo(variance.dtype).tiny
        self.scale = (variance.clamp_min(0) + floor).rsqrt() / known[0][0].numel() ** 0.5

    def __call__(self, x: Tensor) -> Tensor:
        """Return [N, C * ...]."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return ((x - self.mean.view(shape)) * self.scale.view(shape)).flatten(1)


def _fit(
    known: list[dict[str, Tensor]], labels: Tensor, classes: int, config: ProbeConfig, seed: int, progress: bool
) -> nn.ModuleDict:
    """Train all layers' classifiers side by side; they share batches, and nothing else."""
    linears = nn.ModuleDict({layer: _linear(x.shape[1], classes, seed) for layer, x in known[0].items()})
    linears.to(labels.device)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(
        linears.parameters(),
        config.lr,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
    batch = max(1, min(config.batch, len(labels) // _LEAST_STEPS))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs * (len(labels) // batch))
    bar = tqdm(range(config.epochs), desc=f"probes, seed {seed}", delay=2, disable=not progress, leave=False)
    for _ in bar:
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for chosen in order[: len(labels) // batch * batch].split(batch):
            side = known[int(torch.randint(len(known), (1,), generator=generator))]
            losses = [cross_entropy(linear(side[layer][chosen]), labels[chosen]) for layer, linear in linears.items()]
            optimiser.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()
            optimiser.step()
            schedule.step()
    return linears


_LEAST_STEPS = 16  # an epoch: few pictures are taken in smaller batches


def _linear(dims: int, classes: int, seed: int) -> nn.Linear:
    """Return a new classifier; a generator of its own, so that no layer depends on which others are probed."""
    linear, generator = nn.Linear(dims, classes), torch.Generator().manual_seed(seed)
    nn.init.normal_(linear.weight, std=0.01, generator=generator)
    nn.init.zeros_(linear.bias)
    return linear
