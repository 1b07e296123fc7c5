"""One run in several processes (`torchrun`): who we are among them, and the few things that they tell each other."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from codial.errors import CodialError


class Ranks(NamedTuple):
    """This process among those that train one run; alone unless `torchrun` started more."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether it is this process that writes the run's folder."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return which of the `count` rows of a global batch are this process's."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows of all processes, [B, ...] -> [size * B, ...]; gradients flow back to their owners."""
        if self.size == 1:
            return x
        whole = x.new_zeros(self.size * len(x), *x.shape[1:])
        whole[self.rows(len(whole))] = x
        return _Sum.apply(whole)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over the processes, elementwise; gradients flow."""
        if self.size == 1:
            return x
        return _Sum.apply(x) / self.size

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their mean over the processes, in one exchange."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        parts = flat.div_(self.size).split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def any(self, flag: bool) -> bool:
        """Return whether any process says yes, so that all act alike."""
        if self.size == 1:
            return flag
        said = torch.tensor(int(flag))
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def wait(self) -> None:
        """Wait until all processes have come this far."""
        self.any(False)


class _Sum(torch.autograd.Function):
    """The sum over the processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, for the length of the block; without it, be alone.

    Raises:
        CodialError: there are fewer GPUs than processes on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise CodialError(f"There are more processes than the {gpus} GPUs here; use --nproc-per-node={gpus}.")
        torch.cuda.set_device(local)
    # By the device of what is sent: flags travel between the hosts, so that no GPU is waited for.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
