"""A run's folder, which can be opened while it is written.

config.json        all settings
history.jsonl      one line per log step (kind train) and one per evaluation of the monitors (kind monitor)
checkpoints/       last, previous and best .safetensors: weights and everything needed to resume
provenance.json    versions, commit, device, seed, images
evaluations/       reports of probes, retrieval and other evaluations
loggers/           only with `train.loggers`: a folder for each logger
diverged.json      only after a NaN or infinite loss: the batch, for `codial.training.prefetch.replay`
.lock              locked by the process that trains the run
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from codial import config as configs
from codial.config import Config
from codial.config.registry import LOGGERS
from codial.errors import CodialError
from codial.models import Backbone, build_backbone
from codial.runs.checkpoints import latest_checkpoint, verify_checkpoint
from codial.runs.history import read_history
from codial.runs.metadata import latest_metadata
from codial.runs.summary import read_each, require_run
from codial.runs.weights import load_weights
from codial.utils.json_io import read_json, require_types

LOCK = ".lock"
# What a run leaves behind that was killed before its config was written.
_LEFTOVERS = {"checkpoints", "provenance.json", "provenance.json.part", "config.json.part", LOCK}


@dataclass(frozen=True)
class Run:
    """A run's folder, opened for reading.

    Attributes:
        folder: path of the run.
        config: its settings.
    """

    folder: Path
    config: Config

    @property
    def history(self) -> list[dict[str, Any]]:
        """All complete lines of the history so far.

        Raises:
            CodialError: a line is damaged; the message names it.
        """
        return [line for line, _ in read_history(self.folder / "history.jsonl")]

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps at which a term was logged, and its values.

        Args:
            name: of the term, such as "loss" or "knn".

        Raises:
            CodialError: the history has no such term.
        """
        points = [(line["step"], line[name]) for line in self.history if name in line]
        if not points:
            names = sorted({key for line in self.history for key in line} - {"kind", "step", "epoch", "confusion"})
            raise CodialError(f"{self.folder} has no curve {name!r}; it has {', '.join(names) or 'no history yet'}.")
        steps, values = zip(*points, strict=True)
        return list(steps), list(values)

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, commit, device, seed and images of the run.

        Raises:
            CodialError: the file is missing or damaged.
        """
        path = self.folder / "provenance.json"
        values = {"images": {}} | read_json(path)
        require_types(values, {"config_hash": str, "images": dict}, path)
        return values

    @property
    def progress(self) -> dict[str, Any]:
        """Metadata of the last checkpoint: step, steps, epoch, views, seconds, finished; empty before the first."""
        return latest_metadata(self.folder / "checkpoints")

    @property
    def finished(self) -> bool:
        """Whether the run has completed all its epochs."""
        return bool(self.progress.get("finished"))

    def checkpoint(self, which: str = "last") -> Path:
        """Return the path of a checkpoint with a valid checksum.

        Args:
            which: "last" or "best" (highest kNN accuracy). The previous checkpoint replaces a damaged last one.

        Raises:
            CodialError: the checkpoint does not exist or is damaged.
        """
        folder = self.folder / "checkpoints"
        path = latest_checkpoint(folder) if which == "last" else folder / f"{which}.safetensors"
        if path is None or not path.exists():
            raise CodialError(f"{self.folder} has no {which!r} checkpoint yet; wait for its first, or train it.")
        if which != "last":
            verify_checkpoint(path)
        return path

    def backbone(self, which: str = "last", device: str | torch.device = "cpu") -> Backbone:
        """Return the trained backbone in evaluation mode; of exported weights it has fewer layers.

        Args:
            which: "last" or "best" (highest kNN accuracy) checkpoint.
            device: device of the backbone.

        Raises:
            CodialError: the checkpoint does not exist, is damaged, or does not fit the config.
        """
        return load_weights(build_backbone(self.config), self.checkpoint(which)).to(device)

    def __repr__(self) -> str:
        state = "finished" if self.finished else f"at epoch {self.progress.get('epoch', 0)}"
        return f"Run({self.config.name}, {state})"


def open_run(folder: str | Path) -> Run:
    """Open a run's folder; the run may be unfinished, and another process may be training it.

    Raises:
        CodialError: the folder is not a run, or its config cannot be read.
    """
    path = require_run(folder)
    return Run(path.parent, _read_config(path))


def list_runs(root: str | Path) -> list[Run]:
    """Return all runs below a folder, at any depth, sorted by path; unreadable ones are skipped with a warning."""
    return read_each(root, open_run)


def require_run_or_empty(folder: Path) -> None:
    """Check that a run may be written to a folder: it is a run, is empty or does not exist.

    Raises:
        CodialError: it is a file, or holds something other than a run.
    """
    if not folder.exists() or (folder / "config.json").exists():
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - _LEFTOVERS:
        raise CodialError(f"{folder} exists and is not a run; use a new folder, or empty this one.")


def _read_config(path: Path) -> Config:
    values = read_json(path)
    _drop_missing_loggers(values)
    try:
        return configs.from_dict(values)
    except CodialError as error:
        raise CodialError(f"{path} is not the config of a run: {error}{_other_version(path.parent)}") from error


def _drop_missing_loggers(values: dict[str, Any]) -> None:
    """Remove loggers that are not registered here from a config: a run can be opened without them."""
    train = values.get("train")
    if isinstance(train, dict) and isinstance(train.get("loggers"), list) and train["loggers"]:
        known = LOGGERS.names()
        train["loggers"] = [name for name in train["loggers"] if name in known]


def _other_version(folder: Path) -> str:
    """Return a hint if a run was made by another version of codial, which may have other settings."""
    try:
        recorded = read_json(folder / "provenance.json")["codial"]
    except (CodialError, KeyError):
        return ""
    installed = version("codial")
    return "" if recorded == installed else f" It was made by codial {recorded}; this is {installed}."
