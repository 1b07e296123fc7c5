"""Batch norm over the images of all processes of a run, on any device."""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from codial.errors import CodialError
from codial.utils.distributed import ProcessGroup

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


def synchronize_batchnorm(module: nn.Module, processes: ProcessGroup, device: torch.device) -> nn.Module:
    """Replace every batch norm by one over all processes; parameters, buffers and their names stay.

    Args:
        module: changed in place.
        processes: the processes of the run.
        device: device of the module. On a CPU, which torch's `nn.SyncBatchNorm` does not support, the replacement is
            `SyncBatchNorm`.

    Returns:
        The module.

    Raises:
        CodialError: the module has a batch norm of another class, which may do more, such as timm's `BatchNormAct2d`.
    """
    if processes.size == 1:
        return module
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and type(child) not in _PLAIN:
            raise CodialError(
                f"The network has {type(child).__name__}, whose statistics cannot be shared by {processes.size}"
                " processes; train it in one process, or choose a backbone of plain batch norms."
            )
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, SyncBatchNorm(child, processes))
        else:
            synchronize_batchnorm(child, processes, device)
    return module


class SyncBatchNorm(nn.Module):
    """Batch norm with the statistics of all processes in training; each process has as many rows.

    Args:
        norm: the batch norm to take parameters, buffers and settings from.
        processes: the processes of the run.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, processes: ProcessGroup) -> None:
        super().__init__()
        self.eps = norm.eps
        self.momentum = norm.momentum or 0.0
        self.processes = processes
        self.weight = norm.weight
        self.bias = norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, ...] normalized by channel, in the dtype of the input."""
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        dims = (0, *range(2, x.ndim))
        x32 = x.float()
        mean = self.processes.mean(x32.mean(dims))
        centered = x32 - mean.view(shape)
        variance = self.processes.mean(centered.square().mean(dims))
        self._update_statistics(mean, variance, x.numel() // x.shape[1] * self.processes.size)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centered * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1
