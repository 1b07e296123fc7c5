"""Methods, one file each; `register` adds one from another package, a file or a notebook cell."""

from inspect import getdoc

from codial.config import Config, MethodConfig
from codial.config.registry import method_named, register
from codial.methods.base import Batch, ConfusionMatrix, Method, Terms, accuracy
from codial.methods.own_images import preset_for_folder
from codial.methods.presets import preset
from codial.methods.variants import Variant, with_method, with_views

__all__ = [
    "Batch",
    "ConfusionMatrix",
    "Method",
    "MethodConfig",
    "Terms",
    "Variant",
    "accuracy",
    "build",
    "departures",
    "preset",
    "preset_for_folder",
    "register",
    "with_method",
    "with_views",
]

_DEPARTURES = "Departures from the original: "  # start of a paragraph in the docstring of a method


def build(config: Config, images: int = 0, classes: int = 0) -> Method:
    """Return the method that `config.method` names, initialized from torch's global random state.

    Args:
        config: config of the run.
        images: number of images in the data set, for methods that keep something per image.
        classes: number of labels, for methods that train on labels; 0 if some images have none.
    """
    return method_named(config.method.name)(config, images, classes)


def departures(name: str) -> str:
    """Return how a method differs from the original, from its docstring; empty if it does not say."""
    for paragraph in (getdoc(method_named(name)) or "").split("\n\n"):
        if paragraph.startswith(_DEPARTURES):
            return " ".join(paragraph.removeprefix(_DEPARTURES).split())
    return ""
