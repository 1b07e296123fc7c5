"""A backbone's weights in a checkpoint: all of them, or only those that its maps need."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from codial.errors import CodialError
from codial.models import Backbone
from codial.runs.checkpoints import load_strict, read_tensors
from codial.runs.metadata import read_metadata

PREFIX = "model.backbone."  # of the names of a backbone's tensors in a checkpoint


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return a backbone's tensors in a checkpoint, by the names of `backbone.state_dict()`.

    Raises:
        CodialError: the file cannot be read.
    """
    return {name.removeprefix(PREFIX): tensor for name, tensor in read_tensors(path, PREFIX).items()}


def load_weights(backbone: Backbone, path: Path) -> Backbone:
    """Load a checkpoint into a new backbone; of an export without vectors it keeps the layers that have weights.

    Args:
        backbone: a backbone with all its layers.
        path: the checkpoint. Tensors in half precision are converted to that of the backbone.

    Returns:
        The backbone, in evaluation mode.

    Raises:
        CodialError: the checkpoint cannot be read or does not fit the backbone.
    """
    layers = _recorded_layers(path, backbone)
    absent = [layer for layer in backbone.layers if layer not in layers]
    missing = {name: tensor for name, tensor in backbone.state_dict().items() if _belongs(name, absent)}
    load_strict(backbone, missing | read_weights(path), path)
    backbone.layers = layers
    return backbone.eval()


def without_vectors(weights: Mapping[str, Tensor], backbone: Backbone) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Leave out the weights of the layers after the last maps.

    A tensor belongs to a layer if the layer is a component of its name: fc6.0.weight to fc6. Other weights are kept,
    so that nothing is left out of a ResNet, whose last layer has none.

    Returns:
        The other weights, and the layers that can be computed from them.
    """
    end = backbone.layers.index(backbone.map_layers[-1]) + 1
    kept = {name: tensor for name, tensor in weights.items() if not _belongs(name, backbone.layers[end:])}
    return kept, backbone.layers if len(kept) == len(weights) else backbone.layers[:end]


def _belongs(name: str, layers: Iterable[str]) -> bool:
    """Return whether a tensor belongs to one of some layers."""
    return not set(layers).isdisjoint(name.split("."))


def _recorded_layers(path: Path, backbone: Backbone) -> tuple[str, ...]:
    """Return the layers whose weights a checkpoint holds: all of them, unless it was exported."""
    layers = read_metadata(path).get("layers", backbone.layers)
    if not isinstance(layers, list | tuple) or not layers or not set(map(str, layers)) <= set(backbone.layers):
        raise CodialError(f"{path} is damaged or of another version of codial: layers is {layers!r:.60}.")
    return tuple(layers)
