"""Publishing a run: its settings, history, provenance and reports, small enough for a repository."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from codial.data.io.hugging_face import PREFIX
from codial.errors import CodialError
from codial.runs.run import Run
from codial.utils.atomic_io import make_folder, write_atomic
from codial.utils.json_io import read_json

COPIED = ("history.jsonl", "provenance.json")  # beside the config, as they are
SHORTCUTS = "shortcuts"  # name of the shortcut reports of a run's views: shortcuts-SET.json
WEIGHTS = "results/weights"  # folder of exported weights, relative to the project


def publish(run: Run, root: str | Path = "results") -> Path:
    """Copy a finished run without its checkpoints and without paths; reports of an earlier copy are removed.

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
    copy_config(run, folder)
    for path in [run.folder / name for name in COPIED] + sorted((run.folder / "evaluations").glob("*.json")):
        if path.exists() or path.name != "history.jsonl":  # which a run of 0 epochs without monitors has not
            shutil.copyfile(path, folder / path.name)
    return folder


def copy_config(run: Run, folder: Path) -> None:
    """Copy config.json for others: a folder of images, which is stored by its path, as ./NAME only."""
    settings = read_json(run.folder / "config.json")
    source = settings["data"]["source"]
    library = PREFIX * source.startswith(PREFIX)
    path = Path(source.removeprefix(library))
    if path.is_absolute() or str(path).startswith("~"):
        settings["data"]["source"] = f"{library}./{path.name}"
        write_atomic(folder / "config.json", json.dumps(settings, indent=1).encode())
    else:
        shutil.copyfile(run.folder / "config.json", folder / "config.json")


def _is_current_shortcut_report(path: Path, run: Run) -> bool:
    if not path.name.startswith(f"{SHORTCUTS}-"):
        return False
    with suppress(CodialError):
        return bool(read_json(path).get("config_hash") == run.provenance["config_hash"])
    return False
