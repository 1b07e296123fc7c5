"""Validation of notebook parameters.

papermill passes parameters as the command line or a YAML file gives them: `-p fast false` arrives as the string
"false", which is true in Python. The cell after a notebook's parameters therefore passes them to `checked`.
"""

import ast
import linecache
import typing
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from codial.config.validation import KINDS, convert, require
from codial.errors import CodialError


def checked(notebook: Mapping[str, Any], /, **allowed: Sequence) -> SimpleNamespace:
    """Validate a notebook's parameters and return them as attributes of one object.

        seed: int = 0  # the cell "parameters"
        kind: str = "short"

        p = checked(globals(), seed=(0, None), kind=["short", "long"])
        p.seed

    The parameters are the annotated variables. Their types may be int, float, str, bool, one of these `| None`, or a
    list of them such as `list[int]`. Values are converted as settings of a `Config` are, except that text is never
    taken for a number.

    Args:
        notebook: The notebook's `globals()`.
        allowed: For some of the parameters, `(low, high)` for numbers, either of which may be None, or a list of valid
            values for text.

    Raises:
        CodialError: A value has another type or is not allowed, or `allowed` names a variable that is no parameter.
    """
    kinds = {name: kind for name, kind in _annotations(notebook).items() if name in notebook}
    for name in allowed:
        require(name in kinds, "The name of a parameter", name, f"one of {', '.join(kinds)}")
    return SimpleNamespace(**{name: _check(name, notebook[name], kinds[name], allowed.get(name)) for name in kinds})


def _annotations(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of a notebook's annotated variables by name."""
    found = notebook.get("__annotations__", {})
    if "__annotate__" in notebook:  # Python 3.14, where IPython keeps only a cell's last annotation: read the cell
        cell = "".join(linecache.getlines(notebook["__annotate__"].__code__.co_filename))
        statements = (node for node in ast.parse(cell).body if isinstance(node, ast.AnnAssign))
        found = {ast.unparse(node.target): ast.unparse(node.annotation) for node in statements}
    return typing.get_type_hints(SimpleNamespace(__annotations__=found), globalns=dict(notebook))


def _check(name: str, value: Any, kind: Any, allowed: Sequence | None) -> Any:
    if typing.get_origin(kind) is list:
        return _check_list(name, value, typing.get_args(kind)[0], allowed)
    plain = next(k for k in typing.get_args(kind) or (kind,) if k is not type(None))
    hint = _hint(value, plain)
    converted = None
    try:
        converted = convert(kind, value, name)
        valid = not hint and (converted is None or _is_allowed(converted, allowed))
    except CodialError:
        valid = False
    optional = " or None" * (plain is not kind)
    require(valid, f"Parameter {name}", value, f"{_expected(plain, allowed)}{optional}{hint}")
    return converted


def _check_list(name: str, value: Any, kind: type, allowed: Sequence | None) -> list:
    expected = f"a list, each item {_expected(kind, allowed)} (pass lists to papermill with -y or -f, not -p)"
    require(isinstance(value, list | tuple) and bool(value), f"Parameter {name}", value, expected)
    return [_check(f"{name}[{index}]", item, kind, allowed) for index, item in enumerate(value)]


def _is_allowed(value: Any, allowed: Sequence | None) -> bool:
    if allowed is None or isinstance(value, str):
        return allowed is None or value in allowed
    low, high = allowed
    return (low is None or value >= low) and (high is None or value <= high)


def _expected(kind: type, allowed: Sequence | None) -> str:
    if allowed is None:
        return KINDS[kind]
    if kind is str:
        return "one of " + ", ".join(map(repr, allowed))
    low, high = allowed
    bounds = [f"{end:g} or {word}" for end, word in ((low, "more"), (high, "less")) if end is not None]
    return f"{KINDS[kind]}, " + " and ".join(bounds)


def _hint(value: Any, kind: type) -> str:
    """Return advice if the value is text that looks like a number: YAML reads 1e-3 as text."""
    if kind not in (int, float) or not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return ". It is text that looks like a number: leave out the quotes, and in YAML write 1.0e-3 for 1e-3"
