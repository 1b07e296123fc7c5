"""Creation of the backbone that a config names, and registration of classes of one's own."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch

from codial.config import Config, ModelConfig
from codial.config.registry import BACKBONES, TIMM
from codial.errors import CodialError
from codial.models.alexnet import AlexNet
from codial.models.backbone import Backbone
from codial.models.backbone_check import check_backbone, check_class
from codial.models.lab_alexnet import LabAlexNet
from codial.models.sobel_alexnet import SobelAlexNet
from codial.models.timm_backbone import TimmBackbone

B = TypeVar("B", bound=type[Backbone])


class LayerNames(NamedTuple):
    """Names of a backbone's layers, as its attributes `layers` and `map_layers`."""

    layers: tuple[str, ...]
    map_layers: tuple[str, ...]

    @property
    def last(self) -> str:
        """The layer of the feature vector."""
        return self.layers[-1]


_BY_INPUT: dict[str, type[Backbone]] = {"lab": LabAlexNet, "sobel": SobelAlexNet}


def register_backbone(name: str) -> Callable[[B], B]:
    """Return a class decorator that registers a backbone, so that `model.backbone` may be `name`.

    The class is a `Backbone` that is created as `Class(config.model, config.views.size)`.

    Raises:
        CodialError: the name is invalid or taken by another class, or the class is no Backbone or lacks `features`.
    """

    def add(cls: B) -> B:
        check_class(name, cls)
        return BACKBONES.register(name)(cls)

    return add


def build_backbone(config: Config) -> Backbone:
    """Return the backbone that `config.model.backbone` names, initialized from torch's global random state.

    Raises:
        CodialError: it cannot be imported or created, its class does not follow `model.width` or keep what `Backbone`
            promises, or the method needs an AlexNet.
    """
    return create_backbone(config.model, config.views.size, config.method.input, config.method.name)


def create_backbone(model: ModelConfig, size: int, given: str, method: str = "the method") -> Backbone:
    """Return the backbone of a model's settings, as `build_backbone`.

    Args:
        model: name, width and so on.
        size: S, side of the input images in pixels.
        given: the backbone's input, as `MethodConfig.input`.
        method: name of the method, for an error message.

    Raises:
        CodialError: as `build_backbone`.
    """
    if given not in ("rgb", *_BY_INPUT):
        raise CodialError(f"The backbone's input is {given!r}; expected rgb, {', '.join(_BY_INPUT)}.")
    if given != "rgb":
        if _named(model.backbone) is not AlexNet:
            raise CodialError(
                f"model.backbone is {model.backbone!r}; {method} reads images as {given}, for which there is only"
                " alexnet."
            )
        return _BY_INPUT[given](model, size)
    cls = _named(model.backbone)
    if model.width != 1 and not cls.scales_width:
        raise CodialError(
            f"model.width is {model.width:g}; expected 1, since {model.backbone} has one width (--set model.width=1)."
        )
    backbone = cls(model, size)
    if not _is_own(cls):
        check_backbone(model.backbone, backbone, size)
    return backbone


def layer_names(config: Config) -> LayerNames:
    """Return the names of the layers of the backbone that a config describes, in a few milliseconds.

    Raises:
        CodialError: as `build_backbone`.
    """
    device = "meta" if _is_own(_named(config.model.backbone)) else "cpu"  # another's class may need real tensors
    with torch.random.fork_rng(devices=[]), torch.device(device):
        backbone = build_backbone(config)
    return LayerNames(tuple(backbone.layers), tuple(backbone.map_layers))


def _named(name: str) -> type[Backbone]:
    """Return the class of a name."""
    cls = TimmBackbone if name.startswith(TIMM) else BACKBONES.get(name)
    check_class(name, cls)
    return cls


def _is_own(cls: type[Backbone]) -> bool:
    """Return whether a class is codial's, whose promises are checked by its tests."""
    return cls.__module__.startswith("codial.")
