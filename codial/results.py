"""What of a run is worth keeping in a repository: its settings, history, origin and reports, without the weights."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from codial.errors import CodialError
from codial.runs import Run
from codial.stored import read_values, require_kinds
from codial.writing import make_folder, write_safely

KEPT = ("config.json", "history.jsonl", "provenance.json")
SHORTCUTS = "shortcuts"  # reports of what a run's views give away: SHORTCUTS-SET.json
WEIGHTS = "results/weights"  # below the project: exported weights, each folder opened by its name


def publish(run: Run, root: str | Path = "results") -> Path:
    """Copy what can be committed of a finished run; the older copy's reports are replaced, but for those of its views.

    Args:
        run: a finished run; the reports are those in its `evaluations` folder.
        root: runs/photos/codial goes to ROOT/photos/codial: the last two parts of the run's path.

    Returns:
        The folder.

    Raises:
        CodialError: the run is not finished.
    """
    if not run.finished:
        raise CodialError(f"{run!r} is not finished; only whole runs are published.")
    folder = Path(root, *run.folder.resolve().parts[-2:])
    make_folder(folder)
    for old in folder.glob("*.json*"):
        if not _holds_still(old, run):
            old.unlink()
    for path in [run.folder / name for name in KEPT] + sorted((run.folder / "evaluations").glob("*.json")):
        shutil.copyfile(path, folder / path.name)
    return folder


def _holds_still(report: Path, run: Run) -> bool:
    """True for a report of a run's views, which no weights go into, under the same settings."""
    if not report.name.startswith(f"{SHORTCUTS}-"):
        return False
    with suppress(CodialError):
        return bool(read_values(report).get("config_hash") == run.provenance["config_hash"])
    return False


def reports(run: Run) -> Path:
    """Return the folder of a run's reports: its `evaluations`, or the folder itself once it is published."""
    return run.folder / "evaluations" if (run.folder / "evaluations").is_dir() else run.folder


def read_report(path: Path, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Read a report.

    Args:
        path: of the file.
        kinds: the types of what it must hold, by name.

    Raises:
        CodialError: it is damaged, or of a version that holds something else.
    """
    values = read_values(path)
    require_kinds(values, kinds, path)
    return values


def write_report(run: Run, name: str, values: dict[str, Any]) -> None:
    """Write a report as NAME.json where a run's reports are, with the hash of the run's settings."""
    folder = run.folder / "evaluations" if (run.folder / "checkpoints").is_dir() else run.folder  # or it is published
    path = folder / f"{name}.json"
    make_folder(path.parent)
    content = {"name": run.config.name, "config_hash": run.provenance["config_hash"]} | values
    write_safely(path, json.dumps(content, indent=1).encode())
