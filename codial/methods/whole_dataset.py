"""Helpers of methods that process all training images before an epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from codial.data import Dataset
from codial.errors import CodialError
from codial.methods.base import Batch
from codial.transforms import plain_view
from codial.utils.devices import to_device

_BATCH = 256  # images at a time


def uncropped_batches(
    images: Dataset, size: int, device: torch.device, indices: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield complete upright images in batches, [B, 3, size, size] float in [0, 1] on the device.

    Args:
        images: the data set.
        size: side to which images are resized, in pixels.
        device: device of the output.
        indices: indices of the images, [N] int64 on the CPU; all images in order if omitted.
    """
    for batch in (torch.arange(len(images)) if indices is None else indices).split(_BATCH):
        yield plain_view(to_device(images.batch(batch), device), size)


def require_one_process(batch: Batch, what: str, shared: str, alternative: str = "") -> None:
    """Check that the run has one process, since what each process computes from all images may differ by rounding.

    Args:
        batch: A batch of the run.
        what: what requires it, with its verb, such as `DeepCluster trains`.
        shared: what all processes would have to agree on, such as `clusters`.
        alternative: another way to resolve the error, appended to the message.

    Raises:
        CodialError: several processes share the batch.
    """
    count = batch.rng.processes.size
    if count > 1:
        raise CodialError(
            f"{what} in one process only, since all processes would need the same {shared}; there are {count}. Start"
            f" it without torchrun, or with --nproc-per-node=1{alternative}."
        )


def require_fewer_clusters(clusters: int, images: int) -> None:
    """Check that there are at least as many images as clusters.

    Raises:
        CodialError: there are fewer images than clusters.
    """
    if images < clusters:
        raise CodialError(
            f"method.clusters is {clusters}, but there are {images} images; expected at most as many clusters as"
            " images, for example ten for each class that you expect."
        )
