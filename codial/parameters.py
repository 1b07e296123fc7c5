"""What a notebook does with its parameters: check their types, and find the project's folders.

papermill hands over whatever a command line or a YAML file said: `-p fast false` arrives as the text "false", which
Python takes for true. So the cell after a notebook's parameters passes them all through `checked`.
"""

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from codial.errors import CodialError

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def checked(**parameters: tuple) -> SimpleNamespace:
    """Check parameters and return them as attributes of one object.

        p = checked(epochs=(epochs, int, (1, 500)), device=(device, str), fast=(fast, bool))
        p.epochs

    A whole number is taken for a number, and the texts "true" and "false" for truth values; nothing else is converted.

    Args:
        parameters: for each name a pair `(value, type)`, or a triple with what is allowed: for numbers the lowest and
            the highest, `(low, high)`, either of which may be None; for text a list of the valid ones. A type is int,
            float, str, bool, one of these `| None`, or a list of them such as `list[int]`.

    Raises:
        CodialError: a value has another type or is not allowed.
    """
    return SimpleNamespace(**{name: _check(name, *given) for name, given in parameters.items()})


def project_path(path: str | Path) -> Path:
    """Return a path as it is if absolute, and otherwise below the project, wherever the notebook runs.

    JupyterLab, papermill and nbval start a notebook in different folders; its runs must be the same ones. The project
    is the checkout that this package lies in; without one it is the folder that work goes on in.
    """
    checkout = Path(__file__).resolve().parents[1]
    root = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return root / Path(path).expanduser()


def _check(name: str, value: Any, kind: Any, allowed: Sequence | None = None) -> Any:
    optional = isinstance(kind, types.UnionType)
    if optional and value is None:
        return None
    plain = next(k for k in typing.get_args(kind) if k is not type(None)) if optional else kind
    if typing.get_origin(plain) is list:
        return _check_list(name, value, typing.get_args(plain)[0], allowed)
    expected = _expected(plain, allowed) + " or None" * optional
    value = _convert(value, plain)
    if type(value) is not plain or value != value or not _within(value, plain, allowed):
        raise CodialError(f"Parameter {name} is {value!r}; expected {expected}.{_hint(value, plain)}")
    return value


def _check_list(name: str, value: Any, kind: type, allowed: Sequence | None) -> list:
    if not isinstance(value, list | tuple) or not value:
        words = f"a list, each item {_expected(kind, allowed)} (papermill takes lists with -y or -f, not -p)"
        raise CodialError(f"Parameter {name} is {value!r}; expected {words}.")
    return [_check(f"{name}[{index}]", item, kind, allowed) for index, item in enumerate(value)]


def _convert(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _within(value: Any, kind: type, allowed: Sequence | None) -> bool:
    if allowed is None:
        return True
    if kind is str:
        return value in allowed
    low, high = allowed
    return (low is None or value >= low) and (high is None or value <= high)


def _expected(kind: type, allowed: Sequence | None) -> str:
    if allowed is None:
        return _WORDS[kind]
    if kind is str:
        return "one of " + ", ".join(map(repr, allowed))
    low, high = allowed
    bounds = [f"{end:g} or {word}" for end, word in ((low, "more"), (high, "less")) if end is not None]
    return f"{_WORDS[kind]}, " + " and ".join(bounds)


def _hint(value: Any, kind: type) -> str:
    """Return advice where text looks like a number: YAML reads 1e-3 as text."""
    if kind not in (int, float) or not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return " It is text that looks like a number: leave out the quotes, and in YAML write 1.0e-3 for 1e-3."
