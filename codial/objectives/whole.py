"""What systems that look at all pictures before an epoch have in common."""

from collections.abc import Iterator

import torch
from torch import Tensor

from codial.data import Pictures
from codial.devices import to_device
from codial.errors import CodialError
from codial.objectives.protocol import Batch
from codial.views import plain_view

_BATCH = 256  # pictures at a time


def plain_views(images: Pictures, size: int, device: torch.device, places: Tensor | None = None) -> Iterator[Tensor]:
    """Yield whole upright pictures in batches, [B, 3, size, size] float in [0, 1] on the device.

    Args:
        images: the set.
        size: side in pixels.
        device: where they are wanted.
        places: [N] int64 on the CPU, of those wanted; all in their order when left out.
    """
    for indices in (torch.arange(len(images)) if places is None else places).split(_BATCH):
        yield plain_view(to_device(images.batch(indices), device), size)


def require_one_process(batch: Batch, who: str, same: str, instead: str = "") -> None:
    """Refuse several processes: what each finds in all pictures could differ in last digits.

    Raises:
        CodialError: several processes share the batch.
    """
    if batch.draws.ranks.size > 1:
        raise CodialError(
            f"{who} in one process, for all must have the same {same}; there are {batch.draws.ranks.size}. Start it"
            f" without torchrun, or with --nproc-per-node=1{instead}."
        )


def require_fewer_clusters(clusters: int, pictures: int) -> None:
    """Refuse more clusters than pictures.

    Raises:
        CodialError: there are fewer pictures than clusters.
    """
    if pictures < clusters:
        raise CodialError(
            f"objective.clusters is {clusters}, but there are {pictures} pictures; expected fewer clusters than"
            " pictures, such as ten for each kind that you expect."
        )
