"""A run's history: history.jsonl, one JSON object per line, appended during training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codial.errors import CodialError
from codial.utils.atomic_io import append_line, write_atomic
from codial.utils.json_io import parse_json


def append_history(folder: Path, line: Mapping[str, Any]) -> None:
    """Append one line to a run's history.

    Raises:
        CodialError: the disk is full or the file is not writable.
    """
    append_line(folder / "history.jsonl", json.dumps(line))


def truncate_history(folder: Path, step: int) -> None:
    """Remove the lines after a step, which an interrupted run wrote after its last checkpoint.

    Raises:
        CodialError: a line is damaged; nothing is removed.
    """
    path = folder / "history.jsonl"
    if path.exists():
        kept = [line for values, line in read_history(path) if values["step"] <= step]
        write_atomic(path, "".join(line + "\n" for line in kept).encode())


def read_history(path: Path, terms: Sequence[str] = ()) -> list[tuple[dict[str, Any], str]]:
    """Return the parsed values and the text of each complete line of a history file.

    Args:
        path: of the file.
        terms: if given, only lines with one of these terms are parsed and returned.

    Raises:
        CodialError: the file cannot be read, or a line is damaged.
    """
    try:
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
    except (OSError, ValueError) as error:
        raise CodialError(f"{path} cannot be read: {error}.") from error
    return [
        (_parse_line(line, number, path), line)
        for number, line in enumerate(lines, 1)
        if not terms or any(f'"{term}"' in line for term in terms)
    ]


def _parse_line(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        values = parse_json(line)
        if not isinstance(values.get("step"), int):
            raise ValueError("it has no step")
        return values
    except ValueError as error:
        raise CodialError(f"{path}, line {number} is damaged ({error}); fix or remove that line.") from error
