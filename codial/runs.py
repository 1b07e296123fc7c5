"""A run is a folder: config, history, checkpoints and provenance, readable while it is being written.

config.json        every setting
history.jsonl      one line a log step (kind train) and one a monitor (kind monitor)
checkpoints/       last, previous and best .safetensors: weights and all that resuming needs
provenance.json    versions, commit, device, seed, pictures
diverged.json      only after a loss that was no number: which batch it was, for `codial.feed.replay`
"""

import json
import platform
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch

import codial.config as configs
from codial import writing
from codial.checkpoints import load_exactly, newest, newest_note, read_note, read_tensors, require_whole
from codial.config import Config
from codial.errors import CodialError
from codial.models import TAPS, Trunk, build_trunk
from codial.stored import parse_values, read_values, require_kinds
from codial.writing import make_folder, write_safely


@dataclass(frozen=True)
class Run:
    """A run's folder, opened for reading."""

    folder: Path
    config: Config

    @property
    def history(self) -> list[dict[str, Any]]:
        """Every line of history so far; a line still being written is left out.

        Raises:
            CodialError: a line is damaged; it is named.
        """
        path = self.folder / "history.jsonl"
        return [line for line, _ in _history(path)]

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps at which a term was logged, and its values.

        Raises:
            CodialError: no line of history holds it.
        """
        points = [(line["step"], line[name]) for line in self.history if name in line]
        if not points:
            names = sorted({key for line in self.history for key in line} - {"kind", "step", "epoch", "confusion"})
            raise CodialError(f"{self.folder} has no curve {name!r}; it has {', '.join(names) or 'no history yet'}.")
        steps, values = zip(*points, strict=True)
        return list(steps), list(values)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from: versions, commit, device, seed, pictures.

        Raises:
            CodialError: the file is missing or damaged.
        """
        path = self.folder / "provenance.json"
        values = {"pictures": {}} | read_values(path)
        require_kinds(values, {"config_hash": str, "pictures": dict}, path)
        return values

    @property
    def progress(self) -> dict[str, Any]:
        """What the last checkpoint says of itself: step, epoch, views, seconds, finished; empty before the first."""
        return newest_note(self.folder / "checkpoints")

    @property
    def finished(self) -> bool:
        """True when the run has done all its epochs."""
        return bool(self.progress.get("finished"))

    def checkpoint(self, which: str = "last") -> Path:
        """Return the path of a whole checkpoint, its checksum verified; the one before stands in for a damaged last.

        Args:
            which: "last" or "best" (highest kNN accuracy).

        Raises:
            CodialError: there is no such checkpoint, or none is whole.
        """
        folder = self.folder / "checkpoints"
        path = newest(folder) if which == "last" else folder / f"{which}.safetensors"
        if path is None or not path.exists():
            raise CodialError(f"{self.folder} has no {which!r} checkpoint yet; wait for its first, or train it.")
        if which != "last":
            require_whole(path)
        return path

    def trunk(self, which: str = "last", device: str | torch.device = "cpu") -> Trunk:
        """Return the trained trunk in evaluation mode; an exported one has no dense layers (`Trunk.layers`).

        Args:
            which: "last" or "best" (highest kNN accuracy) checkpoint.
            device: where to put it.

        Raises:
            CodialError: there is no such checkpoint, it is damaged, or it does not fit the config.
        """
        path = self.checkpoint(which)
        weights = {k.removeprefix("model.trunk."): v for k, v in read_tensors(path, "model.trunk.").items()}
        trunk = build_trunk(self.config)
        trunk.layers = layers = _layers(path)
        weights = {k: v for k, v in trunk.state_dict().items() if not set(layers) & set(k.split("."))} | weights
        load_exactly(trunk, weights, path)
        return trunk.eval().to(device)

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"at epoch {self.progress.get('epoch', 0)}"
        return f"Run({self.config.name}, {state})"


def _layers(path: Path) -> tuple[str, ...]:
    """Return the layers that a checkpoint has weights for: all, unless it was exported."""
    layers = read_note(path).get("layers", TAPS)
    if not isinstance(layers, list | tuple) or not set(map(str, layers)) <= set(TAPS):
        raise CodialError(f"{path} is damaged, or of another version of codial: layers is {layers!r:.60}.")
    return tuple(layers)


def open_run(folder: str | Path) -> Run:
    """Open a run's folder, finished or not, also while another process writes it.

    Raises:
        CodialError: the folder is not a run.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.exists():
        near = ", ".join(str(p.parent) for p in sorted(folder.parent.glob("*/config.json"))[:5])
        hint = f" Runs beside it: {near}." if near else " `codial pretrain` makes one."
        raise CodialError(f"{folder} is not a run: it has no config.json.{hint}")
    return Run(folder, _read_config(path))


def list_runs(root: str | Path) -> list[Run]:
    """Return the runs anywhere below a folder, by path; what only looks like a run is named in a warning."""
    found = []
    for path in sorted(Path(root).rglob("config.json")):
        try:
            found.append(open_run(path.parent))
        except CodialError as error:
            warnings.warn(f"Left out: {error}", stacklevel=2)
    return found


def _read_config(path: Path) -> Config:
    values = read_values(path)
    try:
        return configs.from_dict(values)
    except CodialError as error:
        raise CodialError(f"{path} does not hold a run's settings: {error}{_made_by_another(path.parent)}") from error


def _made_by_another(folder: Path) -> str:
    """Name the version that made a run, where that is not this one: a newer one may have settings unknown here."""
    import codial

    try:
        theirs = read_values(folder / "provenance.json")["codial"]
    except (CodialError, KeyError):
        return ""
    return "" if theirs == codial.__version__ else f" It was made by codial {theirs}; this is {codial.__version__}."


def create_run(folder: str | Path, config: Config, pictures: Mapping[str, Any], device: str) -> Run:
    """Make a run's folder, or open it when it is there with the same settings and pictures.

    Args:
        folder: where.
        config: all settings.
        pictures: what provenance says of the pictures; empty when they are not known yet, and then not compared.
        device: what provenance says of the device.

    Raises:
        CodialError: the folder holds a run with other settings or pictures, or something that is no run.
    """
    folder = Path(folder)
    if (folder / "config.json").exists():
        run = open_run(folder)
        _require_same(run, config)
        _require_same_pictures(run, pictures)
        return run
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - _BEGUN):
        raise CodialError(f"{folder} exists and is not a run; name a new folder, or empty this one.")
    make_folder(folder / "checkpoints")
    write_safely(folder / "provenance.json", json.dumps(_provenance(config, pictures, device), indent=1).encode())
    write_safely(folder / "config.json", json.dumps(configs.to_dict(config), indent=1).encode())
    return Run(folder, config)


# What a run that was killed at birth leaves behind.
_BEGUN = {"checkpoints", "provenance.json", "provenance.json.part", "config.json.part"}


def _require_same(run: Run, config: Config) -> None:
    theirs, ours = (dict(configs.flatten(c)) for c in (run.config, config))
    other = [
        f"{k}: {theirs.get(k)!r} there, {ours.get(k)!r} asked" for k in theirs | ours if theirs.get(k) != ours.get(k)
    ]
    if other:
        raise CodialError(
            f"{run.folder} holds a run with other settings ({'; '.join(other)}). Name a new folder, or delete this one."
        )


def _require_same_pictures(run: Run, pictures: Mapping[str, Any]) -> None:
    theirs = run.provenance["pictures"]
    if pictures and pictures["fingerprint"] != theirs.get("fingerprint"):
        there, asked = ("{} of {}/{}, {}".format(*map(p.get, _NAMED)) for p in (theirs, pictures))
        raise CodialError(
            f"{run.folder} learns from other pictures ({there} there, {asked} asked). Name a new folder, or delete"
            " this one."
        )


_NAMED = ("count", "name", "split", "fingerprint")


def _provenance(config: Config, pictures: Mapping[str, Any], device: str) -> dict[str, Any]:
    import codial

    return {
        "codial": codial.__version__,
        "commit": _commit(),
        "config_hash": configs.config_hash(config),
        "seed": config.seed,
        "device": device,
        "threads": torch.get_num_threads(),
        "pictures": dict(pictures),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """Return the checkout's commit, with a plus where files differ from it; None outside a checkout."""
    place = Path(__file__).resolve().parent
    try:
        asked = [subprocess.run(["git", *a], cwd=place, capture_output=True, text=True, timeout=10) for a in _GIT]
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit, changes = asked[0].stdout.strip(), asked[1].stdout.strip()
    return (commit + "+" * bool(changes)) or None


_GIT = (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "."))


def append_line(folder: Path, line: Mapping[str, Any]) -> None:
    """Add one line to a run's history."""
    writing.append_line(folder / "history.jsonl", json.dumps(line))


def cut_history(folder: Path, step: int) -> None:
    """Drop lines past a step: those that an interrupted run wrote after its last checkpoint.

    Raises:
        CodialError: a line is damaged; nothing is dropped then.
    """
    path = folder / "history.jsonl"
    if path.exists():
        kept = [line for values, line in _history(path) if values["step"] <= step]
        write_safely(path, "".join(line + "\n" for line in kept).encode())


def _history(path: Path) -> list[tuple[dict[str, Any], str]]:
    """Return what each whole line of a history holds, and the line."""
    try:
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
    except (OSError, ValueError) as error:
        raise CodialError(f"{path} cannot be read: {error}.") from error
    return [(_values(line, place, path), line) for place, line in enumerate(lines, 1)]


def _values(line: str, place: int, path: Path) -> dict[str, Any]:
    try:
        values = parse_values(line)
        if not isinstance(values.get("step"), int):
            raise ValueError("it says no step")
        return values
    except ValueError as error:
        raise CodialError(f"{path}, line {place} is damaged ({error}); mend or remove that line.") from error
