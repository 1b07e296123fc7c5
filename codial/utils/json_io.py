"""Reading JSON files that may be damaged, or written by another version."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codial.errors import CodialError


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        CodialError: the file cannot be read, is not valid JSON, or holds something other than an object.
    """
    try:
        return parse_json(path.read_text())
    except OSError as error:
        raise CodialError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CodialError(f"{path} is not JSON ({error}); it was truncated or edited by hand.") from error


def parse_json(text: str) -> dict[str, Any]:
    """Parse a text that holds one JSON object.

    Raises:
        ValueError: the text is not valid JSON, or holds something other than an object.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, expected a JSON object")
    return values


def require_types(values: dict[str, Any], types: Mapping[str, type | tuple[type, ...]], path: Path) -> None:
    """Check that values have the required names and types.

    Args:
        values: content of the file.
        types: required types by name; booleans do not count as numbers.
        path: the file, for the error message.

    Raises:
        CodialError: names are missing or values have other types; all of them are listed.
    """
    wrong = [f"{name} missing" for name in types if name not in values]
    wrong += [
        f"{name} is {values[name]!r:.60}"
        for name, kind in types.items()
        if name in values and (not isinstance(values[name], kind) or isinstance(values[name], bool))
    ]
    if wrong:
        raise CodialError(f"{path} is damaged or of another version of codial: {'; '.join(wrong)}.")
