"""Comparable initializations for fine-tuning: recomputed batch norm statistics, and weights of a common scale."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

Weighted = nn.Conv2d | nn.Linear
Norm = nn.BatchNorm1d | nn.BatchNorm2d


@torch.no_grad()
def rescale_layers(net: nn.Module, forward_passes: Iterable[Callable[[], object]]) -> None:
    """Set running statistics to the mean over some batches, and rescale each layer's outputs to variance 1.

    Running statistics of an untrained backbone, or of one trained on other images, do not fit. Once statistics are
    frozen, steps of gradient descent would be too large for layers of small weights, and too small for layers of large
    ones. So each unit's weights are divided by its standard deviation, which does not change the network's function
    (after Krähenbühl et al., ICLR 2016, whose rescaling the detectors of the paper's Table 3 use).

    Args:
        net: the network, changed in place and left in evaluation mode.
        forward_passes: functions that each call the network on one batch.
    """
    pairs = list(_pairs(net.eval()))
    kept = [norm.momentum for _, norm in pairs]
    for _, norm in pairs:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    for forward in forward_passes:
        forward()
    for (layer, norm), momentum in zip(pairs, kept, strict=True):
        norm.momentum = momentum
        norm.eval()
        _rescale(layer, norm)


def _rescale(layer: Weighted, norm: Norm) -> None:
    """Divide a layer's weights by the running standard deviations of its batch norm, which become 1."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var + norm.eps).rsqrt()
    layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.ndim - 1)))
    norm.running_mean.mul_(factor)
    norm.running_var.fill_(1 - norm.eps)


def _pairs(net: nn.Module) -> Iterator[tuple[Weighted, Norm]]:
    """Yield each convolution or linear layer with the batch norm that follows it."""
    layer = None
    for module in net.modules():
        if isinstance(module, Weighted):
            layer = module
        elif isinstance(module, Norm) and layer is not None:
            yield layer, module
            layer = None
