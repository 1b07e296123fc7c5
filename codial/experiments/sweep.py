"""Sweeps: train configs one after another; skip finished runs, resume interrupted ones, continue after failures."""

import fnmatch
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from codial.config import RECIPES, Config, override
from codial.data import Dataset, load_images
from codial.errors import CodialError
from codial.experiments.named_sweeps import SWEEPS
from codial.methods.presets import heads, preset
from codial.results.comparison import compare
from codial.runs.publish import publish
from codial.runs.run import Run, open_run
from codial.training.pretrain import pretrain


@dataclass(frozen=True)
class PlannedRun:
    """A config with the folder of its run."""

    config: Config
    folder: Path

    def __str__(self) -> str:
        return f"{self.config.name}, seed {self.config.seed}"


@dataclass(frozen=True)
class SweepResult:
    """Outcome of a sweep.

    Attributes:
        done: finished runs.
        failed: failed runs with error messages.
        remaining: runs that were not finished or not evaluated when the sweep was stopped.
    """

    done: tuple[Run, ...]
    failed: tuple[tuple[PlannedRun, str], ...]
    remaining: tuple[PlannedRun, ...]

    @property
    def interrupted(self) -> bool:
        """Whether the sweep was stopped by Ctrl-C or its time limit."""
        return bool(self.remaining)


def plan(
    names: Iterable[str],
    seeds: int = 1,
    out: str | Path = "runs",
    changes: Mapping[str, Any] | None = None,
) -> list[PlannedRun]:
    """Return the runs of a sweep, all seeds of a preset one after another, each preset once.

    Args:
        names: presets, patterns of presets such as codial-pairs*/photos, or sweeps such as figure3/photos (`SWEEPS`).
        seeds: number of seeds, counted from 0.
        out: folder of the runs; codial/photos is OUT/photos/codial for seed 0 and OUT/photos-seed1/codial for seed 1.
        changes: settings by dotted names, for all presets; random weights keep their 0 epochs.

    Raises:
        CodialError: a name matches no preset, or a change matches no setting.
    """
    changes = dict(changes or {})
    if "seed" in changes or "name" in changes:
        raise CodialError("A sweep sets seeds and names itself; use --seeds for the number of seeds, and no name.")
    if seeds < 1:
        raise CodialError(f"seeds is {seeds}; expected at least 1.")
    presets = dict.fromkeys(each for name in names for each in _matching_presets(name))
    return [_plan_run(name, seed, Path(out), changes) for name in presets for seed in range(seeds)]


def share(planned: Sequence[PlannedRun], task: int, of: int) -> list[PlannedRun]:
    """Return the runs of one task of an array of jobs: every `of`-th run, from the `task`-th on, counted from 0.

    Raises:
        CodialError: there is no such task.
    """
    if not 0 <= task < of:
        raise CodialError(f"task is {task} of {of}; tasks are counted from 0, so expected 0 to {of - 1}.")
    return list(planned[task::of])


def _matching_presets(name: str) -> list[str]:
    """Return the presets of a name, a pattern or a sweep."""
    head, _, recipe = name.partition("/")
    if head in SWEEPS:
        if recipe not in RECIPES:
            raise CodialError(f"{name!r} is a sweep without a recipe; expected SWEEP/RECIPE, such as {head}/photos.")
        return [f"{method}/{recipe}" for method in SWEEPS[head]]
    if not set(name) & set("*?["):
        return [name]
    recipes = fnmatch.filter(RECIPES, recipe)
    presets = [f"{each}/{one}" for one in recipes for each in fnmatch.filter(heads(), head)]
    if not presets:
        raise CodialError(
            f"No preset matches {name!r}. Expected METHOD[-VARIANT]/RECIPE, a pattern such as 'codial-pairs*/photos',"
            f" or one of {', '.join(SWEEPS)} with a recipe, such as table2/photos; names: `codial pretrain --list`."
        )
    return presets


def _plan_run(name: str, seed: int, out: Path, changes: Mapping[str, Any]) -> PlannedRun:
    config, (head, recipe) = preset(name), name.split("/")
    if config.train.epochs == 0:  # random weights stay untrained
        changes = {key: value for key, value in changes.items() if key != "train.epochs"}
    return PlannedRun(
        replace(override(config, changes), seed=seed), out / (f"{recipe}-seed{seed}" if seed else recipe) / head
    )


def sweep(
    planned: Sequence[PlannedRun],
    *,
    root: str | Path | None = None,
    probe: bool = False,
    publish_to: str | Path | None = None,
    minutes: float | None = None,
    progress: bool = True,
    log: Callable[[str], None] = print,
) -> SweepResult:
    """Train, evaluate and publish runs one after another; steps that are done already are skipped.

    After an interruption, the same call resumes. Ctrl-C or the time limit saves the current run and stops the sweep.

    Args:
        planned: runs, as `plan` returns them.
        root: folder of datasets.
        probe: evaluate each run by probes and retrieval on its own dataset, as `codial compare` does.
        publish_to: folder of published results; None publishes nothing.
        minutes: time limit; a current evaluation is completed first. None is unlimited.
        progress: show progress bars.
        log: function that gets a line for each run.
    """
    stop = threading.Event()
    done: list[Run] = []
    failed: list[tuple[PlannedRun, str]] = []
    steps: list[Callable[[PlannedRun], str]] = [partial(_train, root=root, progress=progress, stop=stop)]
    steps += [_Evaluator(root, progress).evaluate] if probe else []
    steps += [partial(_publish, root=publish_to)] if publish_to is not None else []
    with _set_after(stop, minutes):
        for index, each in enumerate(planned):
            messages: list[str] = []
            complete = False
            try:
                complete = all(_take_step(step, each, stop, messages) for step in steps)
            except KeyboardInterrupt:
                stop.set()  # this run and all later ones remain
            except Exception as error:  # an error of any kind must not stop the other runs
                reason = str(error) if isinstance(error, CodialError) else f"{type(error).__name__}: {error}"
                failed.append((each, reason))
                log(f"{index + 1}/{len(planned)} {each}: FAILED, {reason}")
                continue
            if messages:
                log(f"{index + 1}/{len(planned)} {each}: {', '.join(messages)}, {each.folder}")
            if not complete:
                return SweepResult(tuple(done), tuple(failed), tuple(planned[index:]))
            done.append(open_run(each.folder))
    return SweepResult(tuple(done), tuple(failed), ())


def _take_step(step: Callable[[PlannedRun], str], each: PlannedRun, stop: threading.Event, messages: list[str]) -> bool:
    """Take a step unless the sweep is stopped, append its message, and return whether the run is finished."""
    if stop.is_set():
        return False
    messages.append(step(each))
    return open_run(each.folder).finished


@contextmanager
def _set_after(stop: threading.Event, minutes: float | None) -> Iterator[None]:
    """Set an event after some minutes, unless the context ends before."""
    if minutes is None:
        yield
        return
    timer = threading.Timer(60 * minutes, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _train(each: PlannedRun, root: str | Path | None, progress: bool, stop: threading.Event) -> str:
    finished = (each.folder / "config.json").exists() and open_run(each.folder).finished
    run = pretrain(each.config, each.folder, root=root, progress=progress, stop=stop)
    if not run.finished:
        return f"stopped at epoch {run.progress.get('epoch', 0)}"
    return "was finished" if finished else "trained"


def _publish(each: PlannedRun, root: str | Path) -> str:
    return f"published in {publish(open_run(each.folder), root)}"


class _Evaluator:
    """Evaluates runs, and keeps the last datasets in memory for the next run."""

    def __init__(self, root: str | Path | None, progress: bool) -> None:
        self.root = root
        self.progress = progress
        self.cache: dict[tuple[str, int | None], tuple[Dataset, Dataset]] = {}

    def evaluate(self, each: PlannedRun) -> str:
        run = open_run(each.folder)
        compare([run], lambda: self._load_datasets(run), progress=self.progress, device=run.config.train.device)
        return "evaluated"

    def _load_datasets(self, run: Run) -> tuple[Dataset, Dataset]:
        data = run.config.data
        key = (data.source, data.size)
        if key not in self.cache:
            train, test = (load_images(data.source, s, root=self.root, size=data.size) for s in ("train", "test"))
            self.cache = {key: (train, test)}
        return self.cache[key]
