"""The paper's linear probe protocol (section 4), on cached features."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.features import layer_features
from codial.evaluate.probes.targets import METRICS, Labels, Tags, probe_targets
from codial.models import Backbone
from codial.utils.devices import free_memory, uses_bf16
from codial.utils.progress import progress_bar

PRECISIONS = {"auto": "bfloat16 if the device supports it", "bf16": "bfloat16", "float32": "float32"}


@dataclass(frozen=True)
class ProbeConfig:
    """CODIAL's protocol: features are cached, of as many layers at a time as fit into memory."""

    name = "codial"
    layers: tuple[str, ...] = ()  # by default all layers with maps; reports name them
    dims: int = 9000  # feature maps are pooled adaptively to about this many dimensions, as in the paper
    pool: str = "avg"  # Zhang 2016 and GlobStat use the average, RotNet the maximum
    mirror: bool = True  # also train on features of mirrored images, in place of a random flip
    epochs: int = 20
    batch: int = 256  # at most a sixteenth of the images
    lr: float = 20.0  # cosine decay to 0; for standardized vectors of length 1, so that one rate fits all layers
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 0.05  # of the weights, divided by the number of images: large datasets need less
    seeds: tuple[int, ...] = (0, 1, 2)  # of initial weights and order
    precision: str = "auto"  # of the training features: bf16, float32, or bf16 if supported; recorded in the report

    def __post_init__(self) -> None:
        if self.pool not in ("avg", "max"):
            raise CodialError(f"pool is {self.pool!r}; expected avg or max.")
        if self.precision not in PRECISIONS:
            raise CodialError(f"precision is {self.precision!r}; expected {', '.join(PRECISIONS)}.")
        if not self.seeds or min(self.epochs, self.batch, self.dims) < 1 or self.lr <= 0:
            raise CodialError(f"{self}: expected at least one seed, epoch, image per batch and dimension; lr > 0.")

    def describe(self, metric: str = "top-1") -> str:
        """Return the protocol in a sentence."""
        seeds = f"{len(self.seeds)} probe seed{'s' * (len(self.seeds) > 1)}"
        return (
            f"{self.pool}-pooled to about {self.dims:,} dimensions, centered and scaled per channel (affine-free batch"
            f" norm), in {PRECISIONS[self.precision]}, linear layer; SGD with Nesterov momentum {self.momentum:g},"
            f" learning rate {self.lr:g} on vectors of length 1 with cosine decay, weight decay {self.weight_decay:g}"
            f" divided by the number of images, batch {self.batch}, {self.epochs} epochs"
            f"{', with mirrored images' * self.mirror}; {METRICS[metric]}, {seeds}"
        )

    def measure(
        self, backbone: Backbone, train: Dataset, test: Dataset, progress: bool
    ) -> tuple[dict[str, list[float]], dict[str, int]]:
        """Probe each layer: return its scores in percent, one per seed, and its number of dimensions."""
        device = next(backbone.parameters()).device
        train_targets = probe_targets(train, device)
        test_targets = probe_targets(test, device)
        example = layer_features(backbone, train.batch(torch.tensor([0])), **self._options(), progress=False)
        dims = {layer: x[0].numel() for layer, x in example.items()}
        rows = (1 + self.mirror) * len(train) + len(test)
        scores: dict[str, list[float]] = {layer: [] for layer in self.layers}
        with progress_bar(total=len(dims) * len(self.seeds), desc="probes", show=progress) as bar:
            for layers in group_layers({layer: 4 * rows * dims[layer] for layer in self.layers}, free_memory(device)):
                vectors = _layer_vectors(backbone, train, test, replace(self, layers=layers), progress)
                for layer in layers:
                    train_vectors, test_vectors = vectors.pop(layer)
                    for seed in self.seeds:
                        weight, bias = fit(train_vectors, train_targets, self, seed)
                        scores[layer].append(test_targets.score(torch.addmm(bias, test_vectors, weight.T)))
                        bar.update()
        return scores, dims

    def _options(self) -> dict[str, Any]:
        return {"layers": self.layers, "dims": self.dims, "pool": self.pool}


def group_layers(sizes: Mapping[str, int], free: int) -> list[tuple[str, ...]]:
    """Group layers, in order, into as few passes of the backbone as fit into half of the memory.

    Args:
        sizes: bytes of each layer's features in float32; layers are converted to bfloat16 one after another.
        free: free memory in bytes.

    Raises:
        CodialError: a single layer does not fit.
    """
    held = 0
    passes: list[tuple[str, ...]] = []
    for layer, size in sizes.items():
        if size > free / _PEAK:
            raise CodialError(
                f"A probe of {layer} needs {_PEAK * size / 1e9:.3g} GB for its features, but {free / 1e9:.3g} GB are"
                " free: use fewer images (--limit), or a protocol that caches none (--protocol zhang)."
            )
        if passes and held + size <= free / 2:
            passes[-1] += (layer,)
            held += size
        else:
            passes.append((layer,))
            held = size
    return passes


def _layer_vectors(
    backbone: Backbone, train: Dataset, test: Dataset, config: ProbeConfig, progress: bool
) -> dict[str, tuple[list[Tensor], Tensor]]:
    """Return standardized vectors by layer: of the training images, plain and mirrored, and of the test images."""
    flips = (False, True) if config.mirror else (False,)
    maps = [layer_features(backbone, train, mirror=flip, progress=progress, **config._options()) for flip in flips]
    maps.append(layer_features(backbone, test, progress=progress, **config._options()))
    vectors = {}
    for layer in config.layers:
        *train_vectors, test_vectors = standardize(*(each.pop(layer) for each in maps), precision=config.precision)
        vectors[layer] = train_vectors, test_vectors
    return vectors


def standardize(*parts: Tensor, precision: str = "float32") -> list[Tensor]:
    """Apply batch norm without scale and shift, then scale vectors to length 1 in mean square.

    The mean is that of each dimension: a constant offset would only slow the fit, as the bias compensates for it. The
    variance is that of each channel. Both are of all parts but the last. Parts are overwritten if possible.

    Args:
        parts: activations [N, C, ...]: training images, plain and mirrored, and last the test images.
        precision: of the training vectors: "bf16" or "float32".

    Returns:
        Vectors [N, C * ...] of each part, the last in float32.
    """
    channels = parts[0].shape[1]
    vectors = [x.flatten(1) for x in parts]
    mean = torch.stack([x.mean(0) for x in vectors[:-1]]).mean(0)
    maps = [x.sub_(mean).unflatten(1, (channels, -1)) for x in vectors]
    variance = torch.stack([vector_norm(x, dim=2).square().mean(0) / x.shape[2] for x in maps[:-1]]).mean(0)
    # Relative to the activations' scale, which may be 1,000 times smaller in an untrained layer; keeps channels of
    # almost no variance from being amplified.
    floor = 1e-2 * variance.mean() + torch.finfo(variance.dtype).tiny
    scale = (variance + floor).rsqrt() / mean.numel() ** 0.5
    *train, test = (x.mul_(scale.view(-1, 1)).flatten(1) for x in maps)
    half = uses_bf16(precision, test.device)
    return [*(x.bfloat16() if half else x for x in train), test]


def fit(flips: list[Tensor], targets: Labels | Tags, config: ProbeConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Train a linear classifier on vectors [N, F] of the plain images, and of the mirrored ones if given.

    Each layer has a generator of its own, so its result does not depend on which other layers are probed. Gradients
    are written out, because autograd and an optimizer would dominate the time of so small a problem.

    Returns:
        Weights [C, F] and biases [C], float32.
    """
    generator = torch.Generator().manual_seed(seed)
    device = flips[0].device
    count = len(flips[0])
    weight = (0.01 * torch.randn(targets.classes, flips[0].shape[1], generator=generator)).to(device)
    bias = torch.zeros(targets.classes, device=device)
    buffers = torch.zeros_like(weight), torch.zeros_like(bias)
    batch = max(1, min(config.batch, count // _MIN_STEPS))
    steps = count // batch
    for epoch in range(config.epochs):
        order = torch.randperm(count, generator=generator)[: steps * batch].to(device)
        flip = torch.randint(len(flips), (steps,), generator=generator).tolist()
        for step, rows in enumerate(order.split(batch)):
            x = flips[flip[step]].index_select(0, rows)
            by_score = targets.gradient((x @ weight.T.to(x.dtype)).float() + bias, rows)
            by_weight = (by_score.T.to(x.dtype) @ x).float().add_(weight, alpha=config.weight_decay / count)
            rate = config.lr * (1 + math.cos(math.pi * (epoch + step / steps) / config.epochs)) / 2
            for value, buffer, gradient in zip((weight, bias), buffers, (by_weight, by_score.sum(0)), strict=True):
                buffer.mul_(config.momentum).add_(gradient)
                value.add_(gradient, alpha=-rate).add_(buffer, alpha=-rate * config.momentum)
    return weight, bias


_PEAK = 1.6  # memory peak in units of a layer's float32 features, while their bfloat16 copy is made
_MIN_STEPS = 16  # per epoch: small datasets get smaller batches
