"""The paper's protocol of linear probes (section 4), on features that are computed once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm
from tqdm import tqdm

from codial.data import Pictures
from codial.devices import free_memory, uses_bf16
from codial.errors import CodialError
from codial.evaluate.features import taps
from codial.evaluate.task import METRICS, Labels, Tags, task_of
from codial.models import CONV_TAPS, Trunk

PRECISIONS = {"auto": "bfloat16 where the device computes it", "bf16": "bfloat16", "float32": "float32"}


@dataclass(frozen=True)
class ProbeConfig:
    """CODIAL's protocol: features are computed once and kept, of as many layers at a time as memory has room for."""

    name = "codial"
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
        if self.precision not in PRECISIONS:
            raise CodialError(f"precision is {self.precision!r}; expected {', '.join(PRECISIONS)}.")
        if not self.layers or not self.seeds or min(self.epochs, self.batch, self.dims) < 1 or self.lr <= 0:
            raise CodialError(
                "A probe needs at least one layer, seed, epoch, picture a batch and dimension, and lr above 0."
            )

    def describe(self, metric: str = "top-1") -> str:
        """Return the protocol in a sentence."""
        seeds = f"{len(self.seeds)} probe seed{'s' * (len(self.seeds) > 1)}"
        return (
            f"{self.pool}-pooled to about {self.dims:,} dimensions, centred and scaled per channel (affine-free batch"
            f" norm), in {PRECISIONS[self.precision]}, linear layer; SGD with Nesterov momentum {self.momentum:g},"
            f" learning rate {self.lr:g} on vectors of length 1 with cosine decay, weight decay {self.weight_decay:g}"
            f" divided by the number of pictures, batch {self.batch}, {self.epochs} epochs"
            f"{', with mirrored pictures' * self.mirror}; {METRICS[metric]}, {seeds}"
        )

    def measure(
        self, trunk: Trunk, train: Pictures, test: Pictures, progress: bool
    ) -> tuple[dict[str, list[float]], dict[str, int]]:
        """Return what each layer reaches, a number a seed in percent, and how many numbers are read of it."""
        place = next(trunk.parameters()).device
        learnt, judged = task_of(train, place), task_of(test, place)
        dims = {name: x[0].numel() for name, x in taps(trunk, train.batch(torch.tensor([0])), **self._taps()).items()}
        rows = (1 + self.mirror) * len(train) + len(test)
        found: dict[str, list[float]] = {layer: [] for layer in self.layers}
        with tqdm(total=len(dims) * len(self.seeds), desc="probes", delay=2, disable=not progress, leave=False) as bar:
            for layers in groups({layer: 4 * rows * dims[layer] for layer in self.layers}, free_memory(place)):
                inputs = _inputs(trunk, train, test, replace(self, layers=layers), progress)
                for layer in layers:
                    known, asked = inputs.pop(layer)
                    for seed in self.seeds:
                        weight, bias = fit(known, learnt, self, seed)
                        found[layer].append(judged.judge(torch.addmm(bias, asked, weight.T)))
                        bar.update()
        return found, dims

    def _taps(self) -> dict[str, Any]:
        return {"layers": self.layers, "dims": self.dims, "pool": self.pool, "progress": False}


def groups(needs: Mapping[str, int], free: int) -> list[tuple[str, ...]]:
    """Return which layers are held at the same time: as few groups as fit, in order, for each is a pass of the trunk.

    Args:
        needs: bytes of each layer's features in float32; they are halved one layer after another, beside the others.
        free: bytes there are.

    Raises:
        CodialError: a layer alone does not fit.
    """
    room, held = free / 2, 0
    found: list[tuple[str, ...]] = []
    for layer, need in needs.items():
        if need > free / _PEAK:
            raise CodialError(
                f"A probe of {layer} takes {_PEAK * need / 1e9:.3g} GB for its features, and {free / 1e9:.3g} GB are"
                " free: take fewer pictures (--limit), or the protocol that keeps none (--protocol zhang)."
            )
        if found and held + need <= room:
            found[-1] += (layer,)
            held += need
        else:
            found.append((layer,))
            held = need
    return found


def _inputs(
    trunk: Trunk, train: Pictures, test: Pictures, config: ProbeConfig, progress: bool
) -> dict[str, tuple[list[Tensor], Tensor]]:
    """Return standardised vectors by layer: of the known pictures, plain and mirrored, and of those asked for."""
    pooled = config._taps() | {"progress": progress}
    sides = (False, True) if config.mirror else (False,)
    raw = [taps(trunk, train, mirror=mirror, **pooled) for mirror in sides]
    raw.append(taps(trunk, test, **pooled))
    found = {}
    for layer in config.layers:
        *known, asked = standardise(*(each.pop(layer) for each in raw), precision=config.precision)
        found[layer] = known, asked
    return found


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


def fit(sides: list[Tensor], task: Labels | Tags, config: ProbeConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Return the weights [C, F] and biases [C] of one layer's classifier, in float32.

    Its generator is its own, so that no layer depends on which others are probed. The loss's gradient is written out:
    so small a problem spends longer in autograd than in its sums.
    """
    generator, place, count = torch.Generator().manual_seed(seed), sides[0].device, len(sides[0])
    weight = (0.01 * torch.randn(task.classes, sides[0].shape[1], generator=generator)).to(place)
    bias = torch.zeros(task.classes, device=place)
    speeds = torch.zeros_like(weight), torch.zeros_like(bias)
    batch = max(1, min(config.batch, count // _LEAST_STEPS))
    steps, decay = count // batch, config.weight_decay / count
    for epoch in range(config.epochs):
        order = torch.randperm(count, generator=generator)[: steps * batch].to(place)
        turned = torch.randint(len(sides), (steps,), generator=generator).tolist()
        for step, chosen in enumerate(order.split(batch)):
            x = sides[turned[step]].index_select(0, chosen)
            scores = (x @ weight.T.to(x.dtype)).float() + bias
            error = task.error(scores, chosen)
            gradients = (error.T.to(x.dtype) @ x).float().add_(weight, alpha=decay), error.sum(0)
            rate = config.lr * (1 + math.cos(math.pi * (epoch + step / steps) / config.epochs)) / 2
            for value, speed, gradient in zip((weight, bias), speeds, gradients, strict=True):
                speed.mul_(config.momentum).add_(gradient)
                value.add_(gradient, alpha=-rate).add_(speed, alpha=-rate * config.momentum)
    return weight, bias


_PEAK = 1.6  # times a layer's features in float32, while their halved copy is made
_LEAST_STEPS = 16  # an epoch: few pictures are taken in smaller batches
