"""Summaries of run folders, read without importing torch: what `codial runs` lists."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from codial.errors import CodialError
from codial.runs.history import read_history
from codial.runs.metadata import latest_metadata
from codial.utils.json_io import read_json, require_types

T = TypeVar("T")
MIN_VIEWS = 10_000  # views that a network is trained on before its features differ noticeably from random ones
MONITORS = ("knn", "probe")  # terms of the history: accuracies in percent on held-out training images


@dataclass(frozen=True)
class RunSummary:
    """What a run's folder says of its progress.

    Attributes:
        folder: of the run.
        name: of its config.
        source: data set or folder of its training images.
        epochs: number of epochs to train.
        epoch: number of epochs of the last checkpoint.
        views: number of views of the last checkpoint; None without one.
        status: "finished", "unfinished", or "published" for a finished run without its checkpoints.
        best: highest value in percent of each of `MONITORS` that the history has.
    """

    folder: Path
    name: str
    source: str
    epochs: int
    epoch: int
    views: int | None
    status: str
    best: Mapping[str, float]

    @property
    def state(self) -> str:
        """Status and epochs in words."""
        epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
        if self.status == "unfinished":
            return f"unfinished, {self.epoch} of {epochs}"
        return f"{self.status}, {epochs}" + (f", too few views ({self.views:,})" if self.undertrained else "")

    @property
    def undertrained(self) -> bool:
        """Whether the run is finished, but was trained on fewer than `MIN_VIEWS` views."""
        return self.status == "finished" and self.epochs > 0 and (self.views or 0) < MIN_VIEWS

    def best_percent(self, monitor: str) -> str:
        """Return the highest value of a monitor as text, "-" without any."""
        return f"{self.best[monitor]:.1f} %" if monitor in self.best else "-"


def require_run(folder: str | Path) -> Path:
    """Return the path of a run's config.json.

    Raises:
        CodialError: the folder is not a run.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.exists():
        near = ", ".join(str(p.parent) for p in sorted(folder.parent.glob("*/config.json"))[:5])
        hint = f" Runs beside it: {near}." if near else " `codial pretrain` creates one."
        raise CodialError(f"{folder} is not a run: it has no config.json.{hint}")
    return path


def summarize(folder: str | Path) -> RunSummary:
    """Return the summary of a run, finished or not, also while another process writes it.

    Raises:
        CodialError: the folder is not a run, or a file of it is damaged.
    """
    path = require_run(folder)
    config = read_json(path)
    config = {"data": {}} | config
    require_types(config, {"name": str, "train": dict, "data": dict}, path)
    require_types(config["train"], {"epochs": int}, path)
    metadata = latest_metadata(path.parent / "checkpoints")
    lines = [line for line, _ in read_history(path.parent / "history.jsonl", MONITORS)]
    values = {name: [line[name] for line in lines if isinstance(line.get(name), int | float)] for name in MONITORS}
    return RunSummary(
        folder=path.parent,
        name=config["name"],
        source=str(config["data"].get("source", "")),
        epochs=config["train"]["epochs"],
        epoch=metadata.get("epoch", 0),
        views=metadata.get("views"),
        status=_status(path.parent, bool(metadata.get("finished"))),
        best={name: max(found) for name, found in values.items() if found},
    )


def list_summaries(root: str | Path) -> list[RunSummary]:
    """Return summaries of all runs anywhere below a folder, by path; damaged ones are skipped with a warning."""
    return read_each(root, summarize)


def read_each(root: str | Path, read: Callable[[Path], T]) -> list[T]:
    """Return what `read` makes of each run's folder below `root`, by path; damaged runs are skipped with a warning."""
    runs = []
    for path in sorted(Path(root).rglob("config.json")):
        try:
            runs.append(read(path.parent))
        except CodialError as error:
            warnings.warn(f"Skipped: {error}", stacklevel=3)
    return runs


def _status(folder: Path, finished: bool) -> str:
    if finished:
        return "finished"
    return "unfinished" if (folder / "checkpoints").exists() else "published"
