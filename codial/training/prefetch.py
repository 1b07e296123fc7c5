"""Batches of a run, prepared in the background while the method trains on the previous one."""

import hashlib
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codial.config import Config
from codial.data import Dataset, ImageSet
from codial.transforms import ViewParams, Views, render, sample_params
from codial.utils.devices import free_memory, to_device
from codial.utils.distributed import ProcessGroup


class PrefetchedBatch(NamedTuple):
    """This process's part of the batch of one step, on the device."""

    indices: Tensor  # [B] int64, indices in the data set, on the CPU
    labels: Tensor  # [B] int64, -1 where unknown
    views: Views


class _HostBatch(NamedTuple):
    """A batch as it is prepared by the background thread."""

    indices: Tensor
    params: ViewParams
    images: Tensor | None  # None if the data set is on the device
    views: Views | None  # None if a GPU renders them


class Prefetcher:
    """Prepares the batches of a run.

    On a CPU, views are rendered in the background. For a GPU, the background thread samples parameters and decodes and
    pins images; the GPU renders the views.

    Args:
        images: training images; copied to a GPU if they take less than half of its free memory.
        config: config of the run.
        device: device of the views.
        processes: processes that share every batch.
    """

    def __init__(self, images: Dataset, config: Config, device: torch.device, processes: ProcessGroup) -> None:
        self.config, self.device, self.processes = config, device, processes
        self.resident = isinstance(images, ImageSet) and _fits(images, device)
        self.images = images.to(device) if isinstance(images, ImageSet) and self.resident else images

    def batches(self, order: Tensor, first: int) -> Generator[PrefetchedBatch, None, None]:
        """Yield the batches of consecutive steps.

        Args:
            order: image indices of each step's batch over all processes, [steps, batch] int64.
            first: number of the first step in the run, which determines the random numbers.
        """
        with ThreadPoolExecutor(1, "prefetch") as pool:
            pending = pool.submit(self._prepare, first, order[0]) if len(order) else None
            for step in range(len(order)):
                assert pending is not None
                prepared = pending.result()
                if step + 1 < len(order):
                    pending = pool.submit(self._prepare, first + step + 1, order[step + 1])
                yield self._finish(prepared)

    def _prepare(self, step: int, indices: Tensor) -> _HostBatch:
        """Prepare a batch on the host; all processes sample parameters for the complete batch and keep their part."""
        generator = torch.Generator().manual_seed(step_seed(self.config.seed, "views", step))
        rows = self.processes.shard(len(indices))
        params = sample_params(len(indices), self.images.image_size, self.config.views, generator)
        params = ViewParams(*(part[rows] for part in params))
        indices = indices[rows]
        images = None if self.resident else self.images.batch(indices)
        if self.device.type == "cuda":
            return _HostBatch(indices, ViewParams(*(part.pin_memory() for part in params)), images, None)
        assert images is not None
        return _HostBatch(indices, params, None, render(images.to(self.device), params, self.config.views))

    def _finish(self, batch: _HostBatch) -> PrefetchedBatch:
        """Move a batch to the device, and render its views if they are not yet."""
        views = batch.views
        if views is None:
            images = self.images.batch(batch.indices) if batch.images is None else batch.images
            views = render(to_device(images, self.device), batch.params, self.config.views)
        labels = to_device(self.images.labels[batch.indices], self.device)
        return PrefetchedBatch(batch.indices, labels, views)


def replay(record: Mapping[str, Any], config: Config, images: Dataset, device: str = "cpu") -> PrefetchedBatch:
    """Return the batch at which a run diverged, with the same views.

    Args:
        record: content of the run's diverged.json.
        config: config of the run.
        images: training images of the run.
        device: device of the views.
    """
    prefetcher = Prefetcher(images, replace(config, seed=record["seed"]), torch.device(device), ProcessGroup())
    return next(prefetcher.batches(torch.tensor([record["images"]]), record["step"] - 1))


def step_seed(seed: int, stream: str, step: int) -> int:
    """Return the seed of a step's random numbers for one purpose; different streams are independent."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()[:7])


def _fits(images: ImageSet, device: torch.device) -> bool:
    return device.type == "cuda" and images.images.nbytes < free_memory(device) / 2
