"""Names of presets, METHOD[-VARIANT]/RECIPE, checked as far as possible without importing a method."""

from collections.abc import Iterable
from difflib import get_close_matches

from codial.config.recipes import RECIPES
from codial.config.registry import method_names
from codial.errors import CodialError


def split_preset(name: str) -> tuple[str, str, str]:
    """Return the method, the variant (empty for none) and the recipe that a preset's name consists of.

    Raises:
        CodialError: the method or the recipe does not exist; the three nearest presets are named.
    """
    head, _, recipe = str(name).partition("/")
    method, _, variant = head.partition("-")
    if method not in method_names() or recipe not in RECIPES:
        raise unknown_preset(name)
    return method, variant, recipe


def unknown_preset(name: str, variants: Iterable[str] = ()) -> CodialError:
    """Return the error for an unknown preset, which names the three nearest ones.

    Args:
        name: as it was given.
        variants: those of its method, where the method exists.
    """
    head, _, recipe = str(name).partition("/")
    method = head.partition("-")[0]
    heads = [method, *(f"{method}-{variant}" for variant in variants)] if method in method_names() else method_names()
    near_heads = [head] if head in heads else get_close_matches(head, heads, 3, cutoff=0)
    near_recipes = [recipe] if recipe in RECIPES else get_close_matches(recipe, RECIPES, 3, cutoff=0)
    nearest = [f"{one}/{other}" for one in near_heads for other in near_recipes][:3]
    return CodialError(
        f"There is no preset called {name!r}; a preset is METHOD[-VARIANT]/RECIPE. Nearest: {', '.join(nearest)}."
        " `codial pretrain --list` shows all methods, variants and recipes."
    )
