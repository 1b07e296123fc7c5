"""Many configurations one after another: finished ones are skipped, begun ones go on, a failure stops no other."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from codial.ablations import ABLATIONS
from codial.config import Config, override
from codial.data import Pictures, load_images
from codial.errors import CodialError
from codial.presets import PRESETS
from codial.pretrain import pretrain
from codial.results import publish
from codial.runs import Run, open_run
from codial.tables import compare

SWEEPS = {  # systems by what they are compared in, at any scale
    "table1": ("rotnet", "decouple", "globstat", "codial"),
    "table2": ("codial-cr", "codial-cr-bl", "codial", "codial-cr-bl-co", "random", "codial-cls", "codial-mi"),
    "figure3": (*(f"codial-{name}" for name in ABLATIONS if name.startswith("pairs")), "codial"),
    "figure4": ("supervised", "globstat", "codial"),
}


@dataclass(frozen=True)
class Planned:
    """A configuration and its run's folder."""

    config: Config
    folder: Path

    def __str__(self) -> str:
        return f"{self.config.name}, seed {self.config.seed}"


@dataclass(frozen=True)
class Swept:
    """What became of a sweep: every configuration is in one of three."""

    done: tuple[Run, ...]
    failed: tuple[tuple[Planned, str], ...]
    left: tuple[Planned, ...]  # when it was stopped: those that are not finished, or not measured

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or the clock ended it."""
        return bool(self.left)


def plan(
    names: Iterable[str],
    seeds: int = 1,
    out: str | Path = "runs",
    changes: Mapping[str, Any] | None = None,
) -> list[Planned]:
    """List what a sweep trains, all seeds of a configuration in turn, each configuration once.

    Args:
        names: presets, patterns of presets such as codial-pairs*/photos, or sweeps such as figure3/photos (`SWEEPS`).
        seeds: how many, from 0.
        out: codial/photos with seed 0 lies in OUT/photos/codial, with seed 1 in OUT/photos-seed1/codial.
        changes: settings by dotted names, for every configuration; random weights keep their 0 epochs.

    Raises:
        CodialError: a name fits no preset, or a change fits no setting of one of them.
    """
    changes = dict(changes or {})
    if "seed" in changes or "name" in changes:
        raise CodialError("A sweep numbers seeds and names runs itself; say how many seeds with --seeds, and no name.")
    if seeds < 1:
        raise CodialError(f"seeds is {seeds}; expected at least 1.")
    found = dict.fromkeys(preset for name in names for preset in _matching(name))
    return [_planned(name, seed, Path(out), changes) for name in found for seed in range(seeds)]


def _matching(name: str) -> list[str]:
    sweep, _, scale = name.partition("/")
    wanted = [f"{system}/{scale}" for system in SWEEPS.get(sweep, ())] or [name]
    found = [preset for each in wanted for preset in PRESETS if fnmatchcase(preset, each)]
    if not found:
        near = get_close_matches(name, PRESETS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CodialError(
            f"No preset is called {name!r}.{hint} Expected SYSTEM/SCALE as `codial pretrain --list` has them, a pattern"
            f" such as 'codial-pairs*/photos', or one of {', '.join(SWEEPS)} with a scale, such as table2/photos."
        )
    return found


def _planned(name: str, seed: int, out: Path, changes: Mapping[str, Any]) -> Planned:
    system, scale = name.split("/")
    if PRESETS[name].train.epochs == 0:  # random weights stay untrained
        changes = {key: value for key, value in changes.items() if key != "train.epochs"}
    config = replace(override(PRESETS[name], changes), seed=seed)
    return Planned(config, out / (f"{scale}-seed{seed}" if seed else scale) / system)


def sweep(
    planned: Sequence[Planned],
    *,
    root: str | Path | None = None,
    probe: bool = False,
    publish_to: str | Path | None = None,
    minutes: float | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Swept:
    """Train, measure and publish one configuration after another; what is done already is not done again.

    Whatever ends it, the same call goes on from there: each run's folder knows how far it is. Ctrl-C, or the end of
    the minutes, saves the run under way and ends the sweep.

    Args:
        planned: as `plan` returns it.
        root: where data sets lie.
        probe: probe all layers and search neighbours on each run's own set, as `codial compare` does.
        publish_to: folder of published results; None publishes nothing.
        minutes: after which it saves and stops; a probe under way is finished first. None has no end.
        progress: show bars.
        say: gets a line for each configuration.

    Returns:
        The finished runs, the failures with their reasons, and what was left undone.
    """
    stop, done, failed = threading.Event(), list[Run](), list[tuple[Planned, str]]()
    steps: list[Callable[[Planned], str]] = [partial(_train, root=root, progress=progress, stop=stop)]
    steps += [_Measures(root, progress).measure] if probe else []
    steps += [partial(_publish, root=publish_to)] if publish_to is not None else []
    with _set_after(stop, minutes):
        for place, each in enumerate(planned):
            told, whole = list[str](), False
            try:
                whole = all(_taken(step, each, stop, told) for step in steps)
            except KeyboardInterrupt:
                stop.set()  # what is not whole by now is left, as all that comes after it
            except Exception as error:  # of any kind: the others still get their turn
                why = str(error) if isinstance(error, CodialError) else f"{type(error).__name__}: {error}"
                failed.append((each, why))
                say(f"{place + 1}/{len(planned)} {each}: FAILED, {why}")
                continue
            if told:
                say(f"{place + 1}/{len(planned)} {each}: {', '.join(told)}, {each.folder}")
            if not whole:
                return Swept(tuple(done), tuple(failed), tuple(planned[place:]))
            done.append(open_run(each.folder))
    return Swept(tuple(done), tuple(failed), ())


def _taken(step: Callable[[Planned], str], each: Planned, stop: threading.Event, told: list[str]) -> bool:
    """Take a step unless it is time to stop, note what became of it, and return whether the next may be taken."""
    if stop.is_set():
        return False
    told.append(step(each))
    return open_run(each.folder).finished


@contextmanager
def _set_after(stop: threading.Event, minutes: float | None) -> Iterator[None]:
    """Set an event when so many minutes are over, unless the block ends before."""
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


def _train(each: Planned, root: str | Path | None, progress: bool, stop: threading.Event) -> str:
    finished = (each.folder / "config.json").exists() and open_run(each.folder).finished
    run = pretrain(each.config, each.folder, root=root, progress=progress, stop=stop)
    if not run.finished:
        return f"stopped at epoch {run.progress.get('epoch', 0)}"
    return "was finished" if finished else "trained"


def _publish(each: Planned, root: str | Path) -> str:
    return f"published in {publish(open_run(each.folder), root)}"


class _Measures:
    """Measures one run after another; the pictures of the last set are kept, for the next run mostly needs them too."""

    def __init__(self, root: str | Path | None, progress: bool) -> None:
        self.root, self.progress = root, progress
        self.kept: dict[tuple[str, int | None], tuple[Pictures, Pictures]] = {}

    def measure(self, each: Planned) -> str:
        run = open_run(each.folder)
        compare([run], lambda: self._pictures(run), progress=self.progress, device=run.config.train.device)
        return "measured"

    def _pictures(self, run: Run) -> tuple[Pictures, Pictures]:
        data = run.config.data
        key = (data.source, data.size)
        if key not in self.kept:
            known, asked = (load_images(data.source, s, root=self.root, size=data.size) for s in ("train", "test"))
            self.kept = {key: (known, asked)}
        return self.kept[key]
