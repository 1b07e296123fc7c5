"""Validation of the dataclasses that make up a `Config`, and their creation from files and command lines."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from codial.errors import CodialError

_FLOAT_LIMIT = 10**300  # larger integers do not convert to float
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise a CodialError that names a setting, its value and what was expected, unless the condition holds."""
    if not holds:
        raise CodialError(f"{name} is {value!r}; expected {expected}.")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a CodialError that lists the choices, unless the value is one of them."""
    require(value in choices, name, value, "one of " + ", ".join(choices))


def require_range(name: str, value: tuple[float, ...], low: float, high: float) -> None:
    """Raise a CodialError unless the value is two ascending numbers in [low, high]."""
    ascending = len(value) == 2 and low <= value[0] <= value[1] <= high
    require(ascending, name, value, f"two ascending numbers between {low:g} and {high:g}")


def coerce(settings: Any, section: str) -> None:
    """Convert every field of a dataclass to its declared type, in place: 1 to 1.0, a list to a tuple.

    Args:
        settings: A dataclass.
        section: prefix of its fields in error messages, such as `train.`.

    Raises:
        CodialError: A value has the wrong type.
    """
    hints = typing.get_type_hints(type(settings))
    for name in hints:
        object.__setattr__(settings, name, convert(hints[name], getattr(settings, name), section + name))


def build(cls: type, values: Any, prefix: str) -> Any:
    """Create a dataclass from a mapping; the dataclass validates its values.

    Args:
        cls: A dataclass.
        values: values by field; missing fields take their defaults.
        prefix: prefix of its fields in error messages, such as `train.`.

    Raises:
        CodialError: A key is unknown or a value is invalid.
    """
    require(isinstance(values, Mapping), prefix.rstrip(".") or "config", values, "a mapping from names to values")
    names = [field.name for field in fields(cls)]
    for key in values:
        if key not in names:
            raise CodialError(unknown_setting(prefix + str(key), [prefix + name for name in names]))
    return cls(**values)


def unknown_setting(key: str, names: list[str]) -> str:
    """Return the error message for an unknown setting, with similar names and all valid ones."""
    similar = get_close_matches(key, names, 3) or [n for n in names if n.split(".")[-1] == key.split(".")[-1]]
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    return f"There is no setting called {key!r}.{hint} Valid names: {', '.join(names)}."


def convert(kind: Any, value: Any, name: str) -> Any:
    """Convert a value, which may be a string from a command line, to the type of a field."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else build(kind, value, name + ".")
    if isinstance(kind, types.UnionType):  # X | None
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return convert(next(k for k in typing.get_args(kind) if k is not type(None)), value, name)
    if typing.get_origin(kind) is tuple:
        return _convert_tuple(kind, value, name)
    return _convert_scalar(kind, value, name)


def _convert_tuple(kind: Any, value: Any, name: str) -> tuple:
    if isinstance(value, str):
        text = value.strip("()[] ")
        value = [part.strip() for part in text.split(",")] if text else []
    inner = typing.get_args(kind)
    require(isinstance(value, list | tuple), name, value, "values separated by commas")
    any_length = inner[-1] is Ellipsis
    require(any_length or len(value) == len(inner), name, value, f"{len(inner)} values")
    return tuple(convert(inner[0] if any_length else inner[i], v, name) for i, v in enumerate(value))


def _convert_scalar(kind: type, value: Any, name: str) -> Any:
    if isinstance(value, str):
        value = _parse(kind, value, name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _FLOAT_LIMIT else math.inf
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))
    require(fits and (kind is not float or math.isfinite(value)), name, value, KINDS[kind])
    return value


def _parse(kind: type, text: str, name: str) -> Any:
    """Return the value of a string; a string that is no boolean stays a string and fails the type check."""
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            require(False, name, text, KINDS[kind])
    return text
