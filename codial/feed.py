"""The batches of a run, each prepared in the background while the one before it is trained on."""

import hashlib
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codial.config import Config
from codial.data import ImageSet, Pictures
from codial.devices import free_memory, to_device
from codial.ranks import Ranks
from codial.views import Drawn, Views, draw, render


class Fed(NamedTuple):
    """This process's part of one step's batch, on the device."""

    indices: Tensor  # [B] int64, places in the set; on the CPU
    labels: Tensor  # [B] int64, -1 where unknown
    views: Views


class _Ready(NamedTuple):
    """What the host has done for a batch."""

    indices: Tensor
    drawn: Drawn
    pictures: Tensor | None  # None where they lie on the device already
    views: Views | None  # None where a GPU is to make them


class Feed:
    """Makes the batches of a run.

    On a CPU a batch's views are made in the background. For a GPU only what the host has to do is: drawing, decoding,
    and pinning, since a GPU works through its queue by itself.

    Args:
        images: the pictures; kept on a GPU when they take less than half of its free memory.
        config: of the run.
        device: where the views are wanted.
        ranks: the processes that share each batch.
    """

    def __init__(self, images: Pictures, config: Config, device: torch.device, ranks: Ranks) -> None:
        self.config, self.device, self.ranks = config, device, ranks
        self.resident = isinstance(images, ImageSet) and _fits(images, device)
        self.images = images.to(device) if isinstance(images, ImageSet) and self.resident else images

    def batches(self, order: Tensor, first: int) -> Generator[Fed, None, None]:
        """Yield one batch after another.

        Args:
            order: [steps, batch] int64, the pictures of each step's global batch.
            first: the first step's number in the run, which decides what is drawn.
        """
        with ThreadPoolExecutor(1, "feed") as pool:
            ahead = pool.submit(self._prepare, first, order[0]) if len(order) else None
            for step in range(len(order)):
                assert ahead is not None
                prepared = ahead.result()
                if step + 1 < len(order):
                    ahead = pool.submit(self._prepare, first + step + 1, order[step + 1])
                yield self._finish(prepared)

    def _prepare(self, step: int, indices: Tensor) -> _Ready:
        """Do the host's part. All processes draw for the whole batch, and each keeps its rows."""
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, "views", step))
        rows, drawn = self.ranks.rows(len(indices)), draw(len(indices), self.images.sides, self.config.views, generator)
        indices, drawn = indices[rows], Drawn(*(part[rows] for part in drawn))
        pictures = None if self.resident else self.images.batch(indices)
        if self.device.type == "cuda":
            return _Ready(indices, Drawn(*(part.pin_memory() for part in drawn)), pictures, None)
        assert pictures is not None
        return _Ready(indices, drawn, None, render(pictures.to(self.device), drawn, self.config.views))

    def _finish(self, ready: _Ready) -> Fed:
        """Do the device's part."""
        views = ready.views
        if views is None:
            pictures = self.images.batch(ready.indices) if ready.pictures is None else ready.pictures
            views = render(to_device(pictures, self.device), ready.drawn, self.config.views)
        labels = to_device(self.images.labels[ready.indices], self.device)
        return Fed(ready.indices, labels, views)


def replay(record: Mapping[str, Any], config: Config, images: Pictures, device: str = "cpu") -> Fed:
    """Return the batch that broke a run, with the very views that were drawn for it.

    Args:
        record: what the run's diverged.json holds.
        config: of the run.
        images: that it learnt from.
        device: where the views are wanted.
    """
    feed = Feed(images, replace(config, seed=record["seed"]), torch.device(device), Ranks())
    return next(feed.batches(torch.tensor([record["pictures"]]), record["step"] - 1))


def _fits(images: ImageSet, device: torch.device) -> bool:
    return device.type == "cuda" and images.images.nbytes < free_memory(device) / 2


def step_seed(seed: int, stream: str, step: int) -> int:
    """Return the seed of one step's draws; a stream names what is drawn, so that none depends on another."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()[:7])
