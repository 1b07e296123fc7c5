"""Activations of a frozen trunk at any tap, for a whole set of pictures."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d
from tqdm import tqdm

from codial.data import Pictures
from codial.models import Trunk
from codial.pretrain import choose_device
from codial.runs import Run
from codial.views import plain_view

BATCH = 256  # pictures at a time


def trunk_of(source: Run | Trunk, device: str = "auto") -> Trunk:
    """Return a run's last trunk on a device, "auto" being a GPU when there is one; or the trunk itself, where it is."""
    return source if isinstance(source, Trunk) else source.trunk(device=choose_device(device))


@torch.no_grad()
def taps(
    source: Run | Trunk,
    images: Pictures | Tensor,
    layers: Iterable[str],
    *,
    dims: int | None = None,
    pool: str = "avg",
    mirror: bool = False,
    progress: bool = True,
    device: str = "auto",
) -> dict[str, Tensor]:
    """Return a frozen trunk's activations, batch norm in evaluation mode, whole pictures resized to its size.

    Args:
        source: a run or a trunk.
        images: a set, or [N, 3, H, W] uint8.
        layers: names of taps, such as "conv5" or "fc7".
        dims: pool maps adaptively to about this many numbers each (never up); None leaves them whole.
        pool: "avg" or "max".
        mirror: pictures mirrored left and right.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Returns:
        For each layer [N, C, h, w] (convolutions) or [N, F] (dense layers), float32, on the trunk's device.
    """
    trunk, names = trunk_of(source, device).eval(), list(layers)
    place = next(trunk.parameters()).device
    whole: dict[str, Tensor] = {}
    batches = torch.arange(len(images)).split(BATCH)
    for indices in tqdm(batches, desc="features", delay=2, disable=not progress, leave=False):
        batch = images.batch(indices) if isinstance(images, Pictures) else images[indices]
        view = plain_view(batch.to(place), trunk.size)
        found = trunk.taps(view.flip(-1) if mirror else view, names)
        for name in names:
            part = _pooled(found[name], dims, pool)
            if name not in whole:  # filled in place, for parts to be joined would take the memory twice
                whole[name] = part.new_empty(len(images), *part.shape[1:])
            whole[name][indices[0] : indices[-1] + 1] = part
    return whole


def features(
    source: Run | Trunk,
    images: Pictures | Tensor,
    layer: str = "fc7",
    *,
    progress: bool = True,
    device: str = "auto",
) -> Tensor:
    """Return one tap's activations as vectors, [N, F] float32; the arguments are those of `taps`."""
    return taps(source, images, (layer,), progress=progress, device=device)[layer].flatten(1)


def pooled_side(channels: int, side: int, dims: int) -> int:
    """Return the side that brings [channels, side, side] nearest to `dims` numbers without growing it.

    For AlexNet at 224 pixels and 9,000 this gives the usual 9600, 9216, 9600, 9600 and 9216.
    """
    return max(1, min(side, round((dims / channels) ** 0.5)))


def _pooled(x: Tensor, dims: int | None, pool: str) -> Tensor:
    if dims is None or x.ndim == 2:
        return x.float()
    side = pooled_side(x.shape[1], x.shape[-1], dims)
    if side == x.shape[-1]:
        return x.float()
    return (adaptive_max_pool2d if pool == "max" else adaptive_avg_pool2d)(x.float(), side)
