"""Views per second of pretraining: codial, a plain PyTorch recipe, and the backbone alone as an upper bound."""

import itertools
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import codial
from benchmarks.clock import Measurement, Memory, rate
from benchmarks.sampling import PerImage
from codial import methods
from codial.config import Config
from codial.models import AlexNet
from codial.transforms import Views, sample_params
from codial.utils.batch_generator import BatchGenerator
from codial.utils.devices import uses_bf16


def config_for(device: torch.device) -> Config:
    """Return CODIAL at 64 pixels: on a CPU a quarter of the width and batches of 64, on a GPU full width and 512."""
    small = device.type == "cpu"
    config = codial.preset("codial/cifar10" if small else "codial/recommended")
    train = replace(config.train, batch=64 if small else 512, epochs=1000, device=device.type)
    train = replace(train, monitor_every=0, checkpoint_every=1000, log_every=10 if small else 100)
    return replace(config, views=replace(config.views, size=64), train=train)


def measure(device: torch.device) -> dict[str, dict[str, Measurement]]:
    """Return the rates of codial, the backbone alone and, on a CPU, the plain recipe."""
    config = config_for(device)
    images = codial.load_images("photos")
    measurements = {"codial": pretrain(config, images, device), "backbone alone": backbone_alone(config, device)}
    if device.type == "cpu":
        for workers in (0, 1, 2):
            measurements[f"plain recipe, {workers} workers"] = plain_recipe(config, images, workers)
    return {f"width {config.model.width:g}, 64 px, {config.train.batch} images a step": measurements}


class _Stop(Exception):
    """Ends a run once it has been measured."""


def pretrain(config: Config, images: codial.ImageSet, device: torch.device, lines: int = 12) -> Measurement:
    """Measure the time between lines of history of `codial.pretrain`; the first two are the warm-up."""
    timestamps: list[float] = []

    def stop_when_measured(line: object) -> None:
        timestamps.append(time.perf_counter())
        if len(timestamps) == lines + 2:
            raise _Stop

    memory = Memory(device)
    with tempfile.TemporaryDirectory() as folder, suppress(_Stop):
        codial.pretrain(config, Path(folder) / "run", images=images, on_log=stop_when_measured, progress=False)
    views = config.train.log_every * _views(config)
    return Measurement.of((views / (b - a) for a, b in itertools.pairwise(timestamps[1:])), memory)


def _views(config: Config) -> int:
    return config.train.batch * len(config.views.primary)


def backbone_alone(config: Config, device: torch.device) -> Measurement:
    """Measure the forward and backward pass of the backbone on fixed views, without an optimizer."""
    backbone = AlexNet(config.model, config.views.size).to(device).to(memory_format=torch.channels_last)
    size = config.views.size
    views = torch.rand(_views(config), 3, size, size, device=device).to(memory_format=torch.channels_last)
    bf16 = uses_bf16(config.train.precision, device)

    def step() -> int:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features = backbone(views)
        backbone.zero_grad(set_to_none=True)
        features.float().square().mean().backward()
        return len(views)

    return rate(step, device)


def _strided(backbone: AlexNet) -> nn.Sequential:
    """Return conv1 in the usual form: normalize, pad, convolve with a stride of 4."""
    first = backbone.conv1
    normalize = v2.Normalize(first.mean.flatten().tolist(), first.std.flatten().tolist())
    return nn.Sequential(normalize, nn.ZeroPad2d((3, 4, 3, 4)), first.conv, first.norm, nn.ReLU())


def plain_recipe(config: Config, images: codial.ImageSet, workers: int) -> Measurement:
    """Measure the same model and loss in a usual training loop: torchvision, a DataLoader, float32."""
    memory = Memory()
    loader = DataLoader(PerImage(images.images, config.views, as_pil=True), config.train.batch, num_workers=workers)
    method = methods.build(config, len(images), len(images.classes))
    method.backbone.conv1 = _strided(method.backbone)
    optimizer = torch.optim.AdamW(method.parameters(), config.train.lr)
    generator = torch.Generator().manual_seed(0)
    rng = BatchGenerator(generator, config.train.batch)
    params = sample_params(config.train.batch, (64, 64), config.views, generator)
    labels = torch.arange(len(config.views.primary)).expand(config.train.batch, -1)
    unknown = torch.full((config.train.batch,), -1)

    def step(images: Tensor) -> float:
        batch: Any = methods.Batch(Views(images, labels, params), unknown, 0.5, rng, unknown)
        loss = torch.as_tensor(method.terms(batch)["loss"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    batches, timestamps = iter(loader), [0.0]
    for _ in range(20):
        step(next(batches))
        timestamps.append(time.perf_counter())
    # The first steps are the warm-up and use prefetched batches; pairs of steps average over alternating workers.
    steady = timestamps[-1 - 2 * workers - 10 :: 2]
    return Measurement.of((2 * _views(config) / (b - a) for a, b in itertools.pairwise(steady)), memory)
