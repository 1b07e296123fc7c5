"""Random numbers of one training step that do not depend on how many processes share its batch."""

import torch
from torch import Tensor

from codial.utils.distributed import ProcessGroup


class BatchGenerator:
    """Random numbers of one training step, for the images of this process.

    Numbers are generated for the global batch, image by image, and each process keeps those of its own images. The
    numbers of an image are therefore the same however many processes share the batch.

    Args:
        generator: the step's generator, on the device of the views.
        images: B, number of images in this process.
        processes: the processes that share the batch.
    """

    def __init__(
        self,
        generator: torch.Generator,
        images: int,
        processes: ProcessGroup = ProcessGroup(),  # noqa: B008
    ) -> None:
        self.generator = generator
        self.processes = processes
        self.global_batch = images * processes.size
        self.shard = processes.shard(self.global_batch)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers for each image, [B, *shape] float32."""
        values = torch.randn((self.global_batch, *shape), generator=self.generator, device=self.generator.device)
        return values[self.shard]

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return integers in [low, high) for each image, [B, *shape] int64."""
        size = (self.global_batch, *shape)
        values = torch.randint(low, high, size, generator=self.generator, device=self.generator.device)
        return values[self.shard]

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers uniform in [0, 1) for each image, [B, *shape] float32."""
        values = torch.rand((self.global_batch, *shape), generator=self.generator, device=self.generator.device)
        return values[self.shard]

    def permutation(self, count: int) -> Tensor:
        """Return a random permutation of 0..count - 1, [count] int64, the same in all processes."""
        return torch.randperm(count, generator=self.generator, device=self.generator.device)


def batch_generator(rng: BatchGenerator | torch.Generator | None, images: int, device: torch.device) -> BatchGenerator:
    """Return random numbers for a batch from what a caller has.

    Args:
        rng: a `BatchGenerator` is returned as it is; a generator serves a single process; None stands for torch's
            global generator of the device.
        images: B, number of images in the batch.
        device: device of the numbers if `rng` is None.
    """
    if isinstance(rng, BatchGenerator):
        return rng
    return BatchGenerator(rng or _global_generator(device), images)


def _global_generator(device: torch.device) -> torch.Generator:
    if device.type != "cuda":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
