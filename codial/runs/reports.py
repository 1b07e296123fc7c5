"""A run's reports: JSON files with the results of its evaluations, in the run's folder."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from codial.runs.run import Run
from codial.utils.atomic_io import make_folder, write_atomic
from codial.utils.json_io import read_json, require_types

_PROBE = re.compile(r"probe-(?P<source>.+?)(?P<protocol>-zhang|-globstat)?\.json")


def reports_folder(run: Run) -> Path:
    """Return the folder with a run's reports: `evaluations`, or the run's own folder if it is a published copy."""
    return run.folder / "evaluations" if (run.folder / "evaluations").is_dir() else run.folder


def read_report(path: Path, **types: type | tuple[type, ...]) -> dict[str, Any]:
    """Read a report.

    Args:
        path: the report's file.
        types: required types by name.

    Raises:
        CodialError: the report is damaged or of another version.
    """
    values = read_json(path)
    require_types(values, types, path)
    return values


def write_report(run: Run, name: str, values: dict[str, Any]) -> None:
    """Write a report as NAME.json to the folder of a run's reports, with the run's name and config hash."""
    has_checkpoints = (run.folder / "checkpoints").is_dir()  # otherwise it is a published copy
    folder = run.folder / "evaluations" if has_checkpoints else run.folder
    make_folder(folder)
    content = {"name": run.config.name, "config_hash": run.provenance["config_hash"]} | values
    write_atomic(folder / f"{name}.json", json.dumps(content, indent=1).encode())


def current_report(run: Run, name: str) -> Path | None:
    """Return the path of a report made with the run's present config, or None if there is none."""
    path = reports_folder(run) / f"{name}.json"
    if not path.exists():
        return None
    return path if read_report(path).get("config_hash") == run.provenance["config_hash"] else None


def probed_sets(runs: Iterable[Run]) -> list[str]:
    """Return the names of the data sets on which any of the runs was probed with the default protocol."""
    matches = [_PROBE.fullmatch(path.name) for run in runs for path in sorted(reports_folder(run).glob("probe-*.json"))]
    return list(dict.fromkeys(match["source"] for match in matches if match is not None and not match["protocol"]))
