"""One run in several processes started by `torchrun`: this process's rank, its share of a batch, and reductions."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from codial.errors import CodialError
from codial.utils.devices import has_cuda

_MEND = (
    " Start several processes by `torchrun --nproc-per-node=N -m codial pretrain ...`, which sets all of them; for one"
    " process, unset WORLD_SIZE."
)


class ProcessGroup(NamedTuple):
    """The processes that train one run, seen from one of them; a single process unless started by `torchrun`.

    Attributes:
        rank: index of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """Return which of the `count` rows of a global batch belong to this process."""
        rows = count // self.size
        return slice(self.rank * rows, (self.rank + 1) * rows)

    def gather(self, x: Tensor) -> Tensor:
        """Concatenate the rows of all processes, [B, ...] -> [size * B, ...], with gradients."""
        if self.size == 1:
            return x
        gathered = x.new_zeros(self.size * len(x), *x.shape[1:])
        gathered[self.shard(len(gathered))] = x
        return _Sum.apply(gathered)

    def mean(self, x: Tensor) -> Tensor:
        """Return the elementwise mean over the processes, with gradients."""
        if self.size == 1:
            return x
        return _Sum.apply(x) / self.size

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their mean over the processes, in one all-reduce."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        parts = flat.div_(self.size).split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; the same answer in all of them."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def barrier(self) -> None:
        """Wait until all processes have reached this call."""
        self.any(False)


class _Sum(torch.autograd.Function):
    """Sum over the processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Initialize `torch.distributed` for the length of the block if `torchrun` started this process.

    Raises:
        CodialError: this machine has fewer GPUs than processes, or the variables that `torchrun` sets are incomplete.
    """
    size = world_size()
    if size == 1:
        yield ProcessGroup()
        return
    _require_torchrun(size)
    if has_cuda():
        _select_gpu()
    # The backend follows the tensor's device: flags are exchanged on the CPU, which does not synchronize with a GPU.
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_cuda() else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Return the number of processes that `torchrun` started for this run; 1 without it.

    Raises:
        CodialError: WORLD_SIZE is no number.
    """
    text = os.environ.get("WORLD_SIZE") or "1"
    if not text.isdecimal():
        raise CodialError(f"WORLD_SIZE is {text!r}; expected the number of processes, which torchrun sets.{_MEND}")
    return max(1, int(text))


def _require_torchrun(size: int) -> None:
    """Check the variables of the environment, with which torch would wait for ever or raise its own error."""
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise CodialError(f"WORLD_SIZE is {size}, but {', '.join(missing)} is missing in the environment.{_MEND}")
    rank, port = os.environ["RANK"], os.environ["MASTER_PORT"]
    if not rank.isdecimal() or int(rank) >= size:
        raise CodialError(f"RANK is {rank!r}; expected 0 to {size - 1}, for WORLD_SIZE is {size}.{_MEND}")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise CodialError(f"MASTER_PORT is {port!r}; expected 1 to 65535.{_MEND}")


def _select_gpu() -> None:
    """Give each process of this machine its own GPU."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        raise CodialError(f"There are more processes than the {gpus} GPUs here; use --nproc-per-node={gpus}.")
    torch.cuda.set_device(local_rank)
