"""Presets: configs by the name METHOD[-VARIANT]/RECIPE, composed on request."""

from dataclasses import replace

from codial.config import RECIPES, Config
from codial.config.preset_names import split_preset, unknown_preset
from codial.config.registry import method_named, methods
from codial.errors import CodialError


def preset(name: str) -> Config:
    """Return the config of a method, or of one of its variants, under a recipe.

    Args:
        name: METHOD[-VARIANT]/RECIPE, such as `codial/photos`, `codial-cls/cifar10` or `rotnet/paper`.

    Raises:
        CodialError: there is no such method, variant or recipe; the three nearest presets are listed.
    """
    method, variant, recipe = split_preset(name)
    cls = method_named(method)
    if variant and variant not in cls.variants:
        raise unknown_preset(name, cls.variants)
    config = cls.adapt(RECIPES[recipe])
    return replace(cls.variants[variant].change(config) if variant else config, name=name)


def is_preset(name: str) -> bool:
    """Return whether there is a preset of this name."""
    try:
        preset(name)
    except CodialError:
        return False
    return True


def heads() -> list[str]:
    """Return what may stand before a recipe: every method, followed by its variants."""
    return [head for name, cls in methods().items() for head in (name, *(f"{name}-{key}" for key in cls.variants))]
