"""Variants of a method: changes of its config, for ablations and for choices that a paper leaves open."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from codial.config import Config

Change = Callable[[Config], Config]


class Variant(NamedTuple):
    """A change of a method's config; variants that answer an open question have the question and the answer."""

    change: Change
    question: str = ""
    answer: str = ""


def with_method(**changes: Any) -> Change:
    """Return a change of settings of the method."""
    return partial(_replace_in, section="method", changes=changes)


def with_views(**changes: Any) -> Change:
    """Return a change of settings of the views."""
    return partial(_replace_in, section="views", changes=changes)


def both(first: Change, second: Change) -> Change:
    """Return the composition of two changes."""
    return lambda config: second(first(config))


def _replace_in(config: Config, section: str, changes: dict[str, Any]) -> Config:
    return replace(config, **{section: replace(getattr(config, section), **changes)})
