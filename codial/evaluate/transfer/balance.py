"""Fair beginnings for fine-tuning: batch norm's statistics measured, and weights of a like size in every layer."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

Weighted = nn.Conv2d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d


@torch.no_grad()
def balance(net: nn.Module, looks: Iterable[Callable[[], object]]) -> None:
    """Set running statistics to the mean over some batches, and each layer's outputs before its norm to variance 1.

    An untrained trunk has never seen a picture, and another knows those of another set: so all start alike. Once the
    statistics are frozen, a step of gradient descent moves a layer of small weights too far, and one of large weights
    too little; so each unit's weights are divided by its deviation, and what the network computes stays as it is
    (after Krähenbühl et al., ICLR 2016, whose rescaling precedes the detectors of the paper's Table 3).

    Args:
        net: changed in place, and left in evaluation mode.
        looks: each lets the net see one batch.
    """
    pairs = list(_pairs(net.eval()))
    kept = [norm.momentum for _, norm in pairs]
    for _, norm in pairs:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    for look in looks:
        look()
    for (layer, norm), momentum in zip(pairs, kept, strict=True):
        norm.momentum = momentum
        norm.eval()
        _rescale(layer, norm)


def _rescale(layer: Weighted, norm: Norm) -> None:
    """Divide a layer's weights by the deviations that its norm would divide by, which then divides by 1."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    by = (norm.running_var + norm.eps).rsqrt()
    layer.weight.mul_(by.view(-1, *[1] * (layer.weight.ndim - 1)))
    norm.running_mean.mul_(by)
    norm.running_var.fill_(1 - norm.eps)


def _pairs(net: nn.Module) -> Iterator[tuple[Weighted, Norm]]:
    """Yield each layer without biases and the norm that follows it."""
    layer = None
    for module in net.modules():
        if isinstance(module, Weighted):
            layer = module
        elif isinstance(module, Norm) and layer is not None:
            yield layer, module
            layer = None
