"""How settings are checked, and read from files and command lines: for dataclasses that a `Config` is made of."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from codial.errors import CodialError


def require(holds: bool, name: str, got: Any, expected: str) -> None:
    """Raise a CodialError that says what was got and what was expected, unless it holds."""
    if not holds:
        raise CodialError(f"{name} is {got!r}; expected {expected}.")


def require_choice(name: str, got: str, choices: tuple[str, ...]) -> None:
    """Raise a CodialError that lists the choices, unless it is one of them."""
    require(got in choices, name, got, "one of " + ", ".join(choices))


def settle(settings: Any, section: str) -> None:
    """Bring every field to its declared type, so that equal settings are alike: 1 becomes 1.0, a list a tuple.

    Raises:
        CodialError: a value has the wrong type.
    """
    hints = typing.get_type_hints(type(settings))
    for name in hints:
        object.__setattr__(settings, name, _convert(hints[name], getattr(settings, name), section + name))


def require_range(name: str, got: tuple[float, ...], low: float, high: float) -> None:
    """Raise a CodialError unless these are two ascending numbers in [low, high]."""
    ordered = len(got) == 2 and low <= got[0] <= got[1] <= high
    require(ordered, name, got, f"two ascending numbers between {low:g} and {high:g}")


def unknown(key: str, names: list[str]) -> str:
    """Return an error's text: which setting there is not, the near ones, and all."""
    near = get_close_matches(key, names, 3) or [n for n in names if n.split(".")[-1] == key.split(".")[-1]]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no setting called {key!r}.{hint} Valid names: {', '.join(names)}."


def build(cls: type, values: Any, prefix: str) -> Any:
    """Make one dataclass from a mapping, checking every key; the dataclass checks the values.

    Raises:
        CodialError: a key is unknown or a value does not fit.
    """
    require(isinstance(values, Mapping), prefix.rstrip(".") or "config", values, "settings by name")
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            raise CodialError(unknown(prefix + str(key), [prefix + n for n in names]))
    return cls(**values)


def _convert(kind: Any, value: Any, name: str) -> Any:
    """Read one value as a field's type; text such as "5" or "none" comes from a command line."""
    if isinstance(kind, types.UnionType) and all(map(dataclasses.is_dataclass, typing.get_args(kind))):
        return value if isinstance(value, kind) else _build_one(typing.get_args(kind), value, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else build(kind, value, name + ".")
    if isinstance(kind, types.UnionType):  # X | None
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _convert(next(k for k in typing.get_args(kind) if k is not type(None)), value, name)
    if typing.get_origin(kind) is tuple:
        return _convert_tuple(kind, value, name)
    return _convert_scalar(kind, value, name)


def _build_one(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    """Make the dataclass whose own `system` the mapping names; the first where it names none."""
    require(isinstance(value, Mapping), name, value, "settings by name")
    system = value.get("system", kinds[0].system)
    require_choice(f"{name}.system", system, tuple(kind.system for kind in kinds))
    return build(next(kind for kind in kinds if kind.system == system), value, name + ".")


def _convert_tuple(kind: Any, value: Any, name: str) -> tuple:
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("()[] ").split(",")]
    inner = typing.get_args(kind)
    require(isinstance(value, list | tuple), name, value, "values separated by commas")
    open_ended = inner[-1] is Ellipsis
    require(open_ended or len(value) == len(inner), name, value, f"{len(inner)} values")
    return tuple(_convert(inner[0] if open_ended else inner[i], v, name) for i, v in enumerate(value))


_HUGE = 10**300  # about where float ends


def _convert_scalar(kind: type, value: Any, name: str) -> Any:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, str) and kind in (int, float):
        try:
            value = kind(value)
        except ValueError:
            raise CodialError(f"{name} is {value!r}; expected {words[kind]}.") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _HUGE else math.inf
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))
    require(fits and (kind is not float or math.isfinite(value)), name, value, words[kind])
    return value
