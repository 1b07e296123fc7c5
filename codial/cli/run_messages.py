"""What `codial pretrain` prints about a run: its length, the time it will take, its state at the end, the next step."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from codial.cli.output import INTERRUPTED, OK
from codial.errors import CodialError
from codial.runs.summary import MIN_VIEWS, RunSummary, summarize
from codial.utils.json_io import read_json

if TYPE_CHECKING:
    from codial.training.trainer import Trainer

_MAX_CLASSES = 5  # that are named in a line about a folder


class Announcement:
    """Prints the length of a run before its first step, and once, after some steps, the time that it will take."""

    def __init__(self) -> None:
        self._total_steps = 0
        self._first: Mapping[str, Any] | None = None  # first line of the history; its steps include the start
        self._estimated = False

    def start(self, trainer: "Trainer") -> None:
        """Print the number of images, epochs, steps and views."""
        self._total_steps = trainer.total_steps
        images, epochs, steps = trainer.prefetcher.images, trainer.config.train.epochs, trainer.epoch_steps
        views = trainer.total_steps * trainer.batch * len(trainer.config.views.primary)
        if not views:
            return
        name = f"{len(images):,} images of {images.name}/{images.split}"
        print(f"{name}: {views:,} views, in {_count(epochs, 'epoch')} of {_count(steps, 'step')}.", flush=True)
        if views < MIN_VIEWS:
            print(f"That is too few to learn from (fewer than {MIN_VIEWS:,}); a higher train.epochs gives more.")

    def log(self, line: Mapping[str, Any]) -> None:
        """Print the remaining time at the second line of the history that this process writes about training."""
        if line["kind"] != "train" or self._estimated:
            return
        if self._first is None:
            self._first = line
            return
        seconds, steps = (line[name] - self._first[name] for name in ("seconds", "step"))
        remaining = (self._total_steps - line["step"]) * seconds / steps
        self._estimated = True
        tqdm.write(f"This takes about {_duration(remaining)}. Ctrl-C saves; the same command resumes.", file=sys.stdout)
        sys.stdout.flush()


def print_layout(source: str) -> None:
    """Print how a folder of images is understood: a line for each split, what is passed over, and copies."""
    from codial.data.datasets.image_folder import report
    from codial.methods.own_images import is_own_folder

    if is_own_folder(source):
        print("\n".join(report(source, _MAX_CLASSES, compare=False)), flush=True)


def print_state(folder: Path) -> int:
    """Print how far a run is and what to do next, and return the exit code."""
    run = summarize(folder)
    print(f"{folder}: {run.state}; {_accuracies(run)}")
    if run.status == "unfinished":
        print("Saved. The same command resumes, with the same results as without the interruption.")
        return INTERRUPTED
    if run.undertrained:
        print(f"It cannot have learned much: train on at least {MIN_VIEWS:,} views, by a higher train.epochs.")
    print("\n".join(f"Next: {command}" for command in _next_commands(run)))
    return OK


def _accuracies(run: RunSummary) -> str:
    """Return the best values of the monitors in words."""
    if not run.best:
        return "no kNN and probe accuracy, which need labels"
    return f"best kNN {run.best_percent('knn')}, best quick probe {run.best_percent('probe')}"


def _next_commands(run: RunSummary) -> list[str]:
    """Return commands that measure or show a finished run: a probe only if there are labeled images for it."""
    from codial.data.registry import data_sets
    from codial.methods.own_images import can_be_probed, is_own_folder

    own, labeled, path = is_own_folder(run.source), _labeled(run), shlex.quote(str(run.folder))
    probed = (labeled and can_be_probed(run.source)) if own else (labeled or run.source in data_sets())
    show = [f"codial retrieve {path}", f"codial embed {path} --out {shlex.quote(str(run.folder / 'map.png'))}"]
    return [f"codial probe {path}"] * probed + show * (own or not probed)


def _labeled(run: RunSummary) -> bool:
    """Return whether all training images have labels; True if the run does not say."""
    try:
        return bool(read_json(run.folder / "provenance.json")["images"].get("labeled", True))
    except (CodialError, KeyError, AttributeError):  # damaged, or of an older version
        return True


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, whichever has one or two digits before the point."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
