"""Batch norm over the pictures of all processes of a run."""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from codial.ranks import Ranks


def synchronise(module: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """Let every batch norm see all processes' pictures; parameters, buffers and their names stay.

    Args:
        module: changed in place.
        ranks: the processes.
        device: where it runs. torch's own synchronised batch norm refuses a CPU, which gets `SyncNorm`.
    """
    if ranks.size == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, SyncNorm(child, ranks))
        else:
            synchronise(child, ranks, device)
    return module


class SyncNorm(nn.Module):
    """Batch norm whose means and variances in training are those of all processes' rows, equally many in each.

    Args:
        norm: whose parameters, buffers and settings it takes over.
        ranks: the processes.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__()
        self.eps, self.momentum, self.ranks = norm.eps, norm.momentum or 0.0, ranks
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, ...] normalised by channel, in the type that came in."""
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        shape, across = (1, -1) + (1,) * (x.ndim - 2), (0, *range(2, x.ndim))
        wide = x.float()
        mean = self.ranks.mean(wide.mean(across))
        centred = wide - mean.view(shape)
        variance = self.ranks.mean(centred.square().mean(across))
        self._remember(mean, variance, x.numel() // x.shape[1] * self.ranks.size)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1
