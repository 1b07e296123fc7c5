"""Tables of methods and recipes for the documentation, from the registry and the docstrings."""

from inspect import getdoc
from typing import Any

from codial.config import RECIPES
from codial.config.registry import methods
from codial.methods import departures
from tools.docs_results import markdown_table


def method_table() -> str:
    """Return codial's methods with the first line of each docstring."""
    rows = [[f"`{name}`", (getdoc(cls) or "").partition("\n")[0], _variants(cls)] for name, cls in own().items()]
    return markdown_table(["method", "what it does", "variants"], rows)


def departure_list() -> str:
    """Return how each method departs from its paper."""
    return "\n\n".join(f"`{name}`\n:   {_sentence(departures(name))}" for name in own() if departures(name))


def recipe_table() -> str:
    """Return the recipes with their images, duration and scale."""
    rows = [
        [
            f"`{recipe.name}`",
            recipe.data.source,
            f"{recipe.data.limit:,}" if recipe.data.limit else "all",
            str(recipe.train.epochs),
            str(recipe.views.size),
            f"{recipe.model.width:g}",
            "a laptop" if recipe.small else "a GPU",
        ]
        for recipe in RECIPES.values()
    ]
    return markdown_table(["recipe", "data set", "images", "epochs", "view size in pixels", "width", "meant for"], rows)


def own() -> dict[str, Any]:
    """Return the methods of this package, by name; other packages may have registered more."""
    return {name: cls for name, cls in methods().items() if cls.__module__.startswith("codial.")}


def _variants(cls: Any) -> str:
    return f"{len(cls.variants)}, see `codial pretrain --list`" if cls.variants else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
