"""Features of a frozen backbone at any layer."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from codial.data import Dataset
from codial.errors import CodialError
from codial.models import Backbone
from codial.runs.run import Run
from codial.transforms import plain_view
from codial.utils.devices import choose_device
from codial.utils.progress import progress_bar

BATCH = 256  # images at a time


def backbone_of(source: Run | Backbone, device: str = "auto") -> Backbone:
    """Return a run's latest backbone on a device ("auto" is a GPU if there is one); return a backbone unchanged."""
    return source if isinstance(source, Backbone) else source.backbone(device=choose_device(device))


def map_layers(backbone: Backbone) -> tuple[str, ...]:
    """Return the layers with maps that a backbone has weights of."""
    return tuple(layer for layer in backbone.map_layers if layer in backbone.layers)


@torch.no_grad()
def layer_features(
    source: Run | Backbone,
    images: Dataset | Tensor,
    layers: Iterable[str],
    *,
    dims: int | None = None,
    pool: str = "avg",
    mirror: bool = False,
    progress: bool = True,
    device: str = "auto",
) -> dict[str, Tensor]:
    """Compute a frozen backbone's activations of images resized to its input size, batch norm in evaluation mode.

    Args:
        source: a run or a backbone.
        images: a dataset, or [N, 3, H, W] uint8.
        layers: names of layers, among those that `backbone.layers` lists.
        dims: feature maps are pooled adaptively to about this many dimensions, never enlarged; None does not pool.
        pool: "avg" or "max".
        mirror: flip the images horizontally.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Returns:
        For each layer [N, C, h, w] (maps) or [N, F] (vectors), float32, on the backbone's device.

    Raises:
        CodialError: an activation is NaN or infinite.
    """
    backbone = backbone_of(source, device).eval()
    names = list(layers)
    backbone_device = next(backbone.parameters()).device
    features: dict[str, Tensor] = {}
    batches = torch.arange(len(images)).split(BATCH)
    for indices in progress_bar(batches, desc="features", show=progress):
        batch = images.batch(indices) if isinstance(images, Dataset) else images[indices]
        view = plain_view(batch.to(backbone_device), backbone.size)
        activations = backbone.features(view.flip(-1) if mirror else view, names)
        for name in names:
            pooled = _pool(activations[name], dims, pool)
            if name not in features:  # filled in place: concatenating batches would take twice the memory
                features[name] = pooled.new_empty(len(images), *pooled.shape[1:])
            features[name][indices[0] : indices[-1] + 1] = pooled
    for name, values in features.items():
        require_finite(values, name)
    return features


def features(
    source: Run | Backbone,
    images: Dataset | Tensor,
    layer: str = "",
    *,
    progress: bool = True,
    device: str = "auto",
) -> Tensor:
    """Return the activations of one layer, by default the last, as vectors [N, F] float32.

    Other arguments are those of `layer_features`.
    """
    backbone = backbone_of(source, device)
    layer = layer or backbone.layers[-1]
    return layer_features(backbone, images, (layer,), progress=progress)[layer].flatten(1)


def require_finite(features: Tensor, name: str) -> None:
    """Check features [N, ...] of a layer, or of what else `name` says; tensors on the meta device have no values.

    Raises:
        CodialError: a value is NaN or infinite.
    """
    if features.is_meta:
        return
    broken = (~features.flatten(1).sum(1).isfinite()).nonzero()[:, 0].tolist()  # a mask of all values would be large
    if broken:
        raise CodialError(
            f"{name}: {len(broken)} of {len(features)} images have NaN or infinite features, such as image {broken[0]}."
            " The network has diverged: train again with a lower train.lr, or evaluate an earlier epoch."
        )


def pooled_side(channels: int, side: int, dims: int) -> int:
    """Return the side to which [channels, side, side] is pooled to have about `dims` dimensions; never enlarge.

    For AlexNet at 224 pixels and 9,000 dimensions, conv1 to conv5 get the usual 9600, 9216, 9600, 9600 and 9216.
    """
    return max(1, min(side, round((dims / channels) ** 0.5)))


def _pool(x: Tensor, dims: int | None, pool: str) -> Tensor:
    if dims is None or x.ndim == 2:
        return x.float()
    side = pooled_side(x.shape[1], x.shape[-1], dims)
    if side == x.shape[-1]:
        return x.float()
    return (adaptive_max_pool2d if pool == "max" else adaptive_avg_pool2d)(x.float(), side)
