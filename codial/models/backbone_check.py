"""Checks of a backbone class by anybody: does it keep what `Backbone` promises?"""

from typing import Any

import torch
from torch import Tensor

from codial.errors import CodialError
from codial.models.backbone import Backbone
from codial.utils.plugins import identity

_ATTRIBUTES = ("size", "layers", "map_layers", "feature_dim")


def check_class(name: str, cls: Any) -> None:
    """Check that a class derives from `Backbone` and implements `features`.

    Raises:
        CodialError: it does not.
    """
    if not (isinstance(cls, type) and issubclass(cls, Backbone)):
        raise CodialError(f"Backbone {name!r}: {identity(cls)} is no subclass of codial.models.Backbone.")
    if missing := sorted(cls.__abstractmethods__):
        raise CodialError(f"Backbone {name!r}: {identity(cls)} must implement {', '.join(missing)}.")


@torch.no_grad()
def check_backbone(name: str, backbone: Backbone, size: int) -> None:
    """Check attributes and activations of a new backbone on two black images.

    Raises:
        CodialError: an attribute is missing, or `features` returns other names or shapes than the attributes promise.
    """
    who = f"Backbone {name!r}, {identity(type(backbone))}"
    _check_attributes(who, backbone, size)
    training = backbone.training
    images = torch.zeros(2, 3, size, size)
    backbone.eval()
    try:
        _check_activations(who, backbone, backbone.features(images))
        _check_requests(who, backbone, images)
    except CodialError:
        raise
    except Exception as error:  # whatever another's forward pass raises
        raise CodialError(
            f"{who}: features() of images [2, 3, {size}, {size}] raises {type(error).__name__}: {error}"
        ) from error
    finally:
        backbone.train(training)


def _check_attributes(who: str, backbone: Backbone, size: int) -> None:
    if missing := [name for name in _ATTRIBUTES if not hasattr(backbone, name)]:
        raise CodialError(f"{who}: set {', '.join(f'self.{name}' for name in missing)} in __init__.")
    layers, maps = tuple(backbone.layers), tuple(backbone.map_layers)
    if not layers or not all(isinstance(layer, str) for layer in layers) or len(set(layers)) < len(layers):
        raise CodialError(f"{who}: self.layers is {backbone.layers!r}; expected a tuple of distinct names.")
    if not maps or layers[-1] in maps or maps != tuple(layer for layer in layers if layer in maps):
        raise CodialError(
            f"{who}: self.map_layers is {backbone.map_layers!r}; expected at least one of {', '.join(layers[:-1])}, in"
            f" this order. The last of self.layers, {layers[-1]}, is the feature vector."
        )
    if backbone.size != size:
        raise CodialError(f"{who}: self.size is {backbone.size!r}; expected {size}, as given to __init__.")


def _check_activations(who: str, backbone: Backbone, activations: Any) -> None:
    """Check names and shapes of all activations of two images."""
    if not isinstance(activations, dict) or tuple(activations) != tuple(backbone.layers):
        names = ", ".join(map(str, activations)) if isinstance(activations, dict) else repr(type(activations))
        raise CodialError(
            f"{who}: features() returns {names or 'nothing'}; expected a dict of self.layers, in this order:"
            f" {', '.join(backbone.layers)}."
        )
    for layer, x in activations.items():
        expected = "maps [2, C, h, w], as in self.map_layers" if layer in backbone.map_layers else "vectors [2, F]"
        if not isinstance(x, Tensor) or x.ndim != (4 if layer in backbone.map_layers else 2) or len(x) != 2:
            shape = list(x.shape) if isinstance(x, Tensor) else repr(type(x))
            raise CodialError(f"{who}: features() of 2 images has {layer} of shape {shape}; expected {expected}.")
    if (found := x.shape[1]) != backbone.feature_dim:
        raise CodialError(f"{who}: self.feature_dim is {backbone.feature_dim!r}, but {layer} has {found} features.")


def _check_requests(who: str, backbone: Backbone, images: Tensor) -> None:
    """Check that `features` returns the layers that it is asked for, and refuses one that does not exist."""
    first = backbone.layers[0]
    if list(found := backbone.features(images, (first,))) != [first]:
        raise CodialError(
            f"{who}: features(images, [{first!r}]) returns {', '.join(found)}; expected {first} alone: return the"
            " layers in self.require(layers)."
        )
    expected = "expected a CodialError: start with names = self.require(layers)."
    try:
        backbone.features(images, ("no such layer",))
    except CodialError:
        return
    except Exception as error:
        raise CodialError(f"{who}: features() of a layer that does not exist: {error!r}; {expected}") from error
    raise CodialError(f"{who}: features() of a layer that does not exist returns activations; {expected}")
