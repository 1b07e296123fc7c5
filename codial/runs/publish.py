"""Publishing a run: its settings, history, provenance and reports, small enough for a repository."""

import shutil
from contextlib import suppress
from pathlib import Path

from codial.errors import CodialError
from codial.runs.run import Run
from codial.utils.atomic_io import make_folder
from codial.utils.json_io import read_json

PUBLISHED = ("config.json", "history.jsonl", "provenance.json")
SHORTCUTS = "shortcuts"  # name of the shortcut reports of a run's views: shortcuts-SET.json
WEIGHTS = "results/weights"  # folder of exported weights, relative to the project


def publish(run: Run, root: str | Path = "results") -> Path:
    """Copy a finished run without its checkpoints; reports of an earlier copy are removed.

    Shortcut reports of an earlier copy are kept while the settings are the same, because they depend on the views only.

    Args:
        run: a finished run; its reports are those in its `evaluations` folder.
        root: parent folder; runs/photos/codial is copied to ROOT/photos/codial.

    Returns:
        The folder of the copy.

    Raises:
        CodialError: the run is not finished.
    """
    if not run.finished:
        raise CodialError(f"{run!r} is not finished; only finished runs can be published.")
    folder = Path(root, *run.folder.resolve().parts[-2:])
    make_folder(folder)
    for old in folder.glob("*.json*"):
        if not _is_current_shortcut_report(old, run):
            old.unlink()
    for path in [run.folder / name for name in PUBLISHED] + sorted((run.folder / "evaluations").glob("*.json")):
        if path.exists() or path.name != "history.jsonl":  # which a run of 0 epochs without monitors has not
            shutil.copyfile(path, folder / path.name)
    return folder


def _is_current_shortcut_report(path: Path, run: Run) -> bool:
    if not path.name.startswith(f"{SHORTCUTS}-"):
        return False
    with suppress(CodialError):
        return bool(read_json(path).get("config_hash") == run.provenance["config_hash"])
    return False
