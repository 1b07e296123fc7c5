"""JSON that was written earlier, perhaps by another version or by a stranger, and may be damaged since."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codial.errors import CodialError


def read_values(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        CodialError: it cannot be read, is no JSON, or holds something else.
    """
    try:
        return parse_values(path.read_text())
    except OSError as error:
        raise CodialError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CodialError(f"{path} is not JSON ({error}); it was cut short or edited by hand.") from error


def parse_values(text: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Raises:
        ValueError: it is no JSON, or something else.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, expected values by name")
    return values


def require_kinds(values: dict[str, Any], kinds: Mapping[str, type | tuple[type, ...]], path: Path) -> None:
    """Refuse values that lack what they should hold.

    Args:
        values: as read from the path.
        kinds: the types of what must be there, by name.
        path: of the file.

    Raises:
        CodialError: a name is missing, or its value of another type; all are listed.
    """
    wrong = [f"{name} missing" for name in kinds if name not in values]
    wrong += [
        f"{name} is {values[name]!r:.60}"
        for name, kind in kinds.items()
        if name in values and (not isinstance(values[name], kind) or isinstance(values[name], bool))
    ]
    if wrong:
        raise CodialError(f"{path} is damaged, or of another version of codial: {'; '.join(wrong)}.")
