"""Pretraining, end to end, in views a second: ours, the plain recipe, and the trunk alone (the ceiling)."""

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
from benchmarks.clock import Measured, Memory, rate
from benchmarks.sampling import PerPicture
from codial import objectives
from codial.config import Config
from codial.devices import uses_bf16
from codial.models import AlexNet
from codial.views import Views, draw


def config_for(device: torch.device) -> Config:
    """Return CODIAL at 64 px: a quarter of the width and 64 pictures a step on a CPU, all of it and 512 on a GPU."""
    small = device.type == "cpu"
    config = codial.preset("codial/cifar10" if small else "codial/recommended")
    train = replace(config.train, batch=64 if small else 512, epochs=1000, device=device.type)
    train = replace(train, monitor_every=0, checkpoint_every=1000, log_every=10 if small else 100)
    return replace(config, views=replace(config.views, size=64), train=train)


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return the rates of ours, of the trunk alone and, beside a CPU, of the plain recipe."""
    config, images = config_for(device), codial.load_images("photos")
    found = {"codial": ours(config, images, device), "trunk alone": trunk_alone(config, device)}
    if device.type == "cpu":
        for workers in (0, 1, 2):
            found[f"plain recipe, {workers} workers"] = plain_recipe(config, images, workers)
    return {f"width {config.model.width:g}, 64 px, {config.train.batch} pictures a step": found}


class _Enough(Exception):
    """Ends a run that has been measured."""


def ours(config: Config, images: codial.ImageSet, device: torch.device, lines: int = 12) -> Measured:
    """Train by the public function, and read the clock at its lines of history, the first two left out."""
    moments: list[float] = []

    def enough(line: object) -> None:
        moments.append(time.perf_counter())
        if len(moments) == lines + 2:
            raise _Enough

    memory = Memory(device)
    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        codial.pretrain(config, Path(folder) / "run", images=images, on_log=enough, progress=False)
    views = config.train.log_every * _views(config)
    return Measured.of((views / (b - a) for a, b in itertools.pairwise(moments[1:])), memory)


def _views(config: Config) -> int:
    return config.train.batch * len(config.views.primary)


def trunk_alone(config: Config, device: torch.device) -> Measured:
    """Go forward and back through the trunk as we train it, always with the same views and without an optimiser."""
    trunk = AlexNet(config.model, config.views.size).to(device).to(memory_format=torch.channels_last)
    size = config.views.size
    views = torch.rand(_views(config), 3, size, size, device=device).to(memory_format=torch.channels_last)
    bf16 = uses_bf16(config.train.precision, device)

    def step() -> int:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features = trunk(views)
        trunk.zero_grad(set_to_none=True)
        features.float().square().mean().backward()
        return len(views)

    return rate(step, device)


def _strided(trunk: AlexNet) -> nn.Sequential:
    """Return conv1 as most would write it: normalise, pad, convolve with a stride of 4."""
    first = trunk.conv1
    normalise = v2.Normalize(first.mean.flatten().tolist(), first.std.flatten().tolist())
    return nn.Sequential(normalise, nn.ZeroPad2d((3, 4, 3, 4)), first.conv, first.norm, nn.ReLU())


def plain_recipe(config: Config, images: codial.ImageSet, workers: int) -> Measured:
    """Train the same model by the same loss as most would write it: torchvision, a DataLoader, float32."""
    memory = Memory()
    loader = DataLoader(PerPicture(images.images, config.views, as_pil=True), config.train.batch, num_workers=workers)
    objective = objectives.build(config, len(images.classes), len(images))
    objective.trunk.conv1 = _strided(objective.trunk)
    optimiser = torch.optim.AdamW(objective.parameters(), config.train.lr)
    generator, batches, moments = torch.Generator().manual_seed(0), iter(loader), [0.0]
    draws = objectives.Draws(generator, config.train.batch)
    drawn = draw(config.train.batch, (64, 64), config.views, generator)
    labels = torch.arange(len(config.views.primary)).expand(config.train.batch, -1)
    unknown = torch.full((config.train.batch,), -1)

    def step(images: Tensor) -> float:
        batch: Any = objectives.Batch(Views(images, labels, drawn), unknown, 0.5, draws, unknown)
        loss = torch.as_tensor(objective.terms(batch)["loss"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    for _ in range(20):
        step(next(batches))
        moments.append(time.perf_counter())
    # The first steps warm up, and use what the workers had ready; pairs even out workers that take turns.
    settled = moments[-1 - 2 * workers - 10 :: 2]
    return Measured.of((2 * _views(config) / (b - a) for a, b in itertools.pairwise(settled)), memory)
