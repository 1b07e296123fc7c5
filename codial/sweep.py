"""Many configurations one after another: finished ones are skipped, begun ones go on, a failure stops no other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from codial.ablations import ABLATIONS
from codial.config import Config, override
from codial.data import Pictures, load_images
from codial.errors import CodialError
from codial.presets import PRESETS
from codial.pretrain import pretrain
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
    left: tuple[Planned, ...]  # after Ctrl-C: those that are not finished, or not measured

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
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
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Swept:
    """Train what is not finished, one after another, then measure what lacks a report.

    Whatever ends it, the same call goes on from there: each run's folder knows how far it is. Ctrl-C saves the run
    under way and ends the sweep.

    Args:
        planned: as `plan` returns it.
        root: where data sets lie.
        probe: afterwards, probe all layers and search neighbours on each run's own set, as `codial compare` does.
        progress: show bars.
        say: gets a line for each configuration.

    Returns:
        The finished runs, the failures with their reasons, and what Ctrl-C left undone.
    """
    steps: list[Callable[[Planned], tuple[Run, str]]] = [lambda each: _trained(each, root, progress)]
    if probe:
        steps.append(_Measures(root, progress).measured)
    todo, runs = list(planned), list[Run]()
    failed: list[tuple[Planned, str]] = []
    for step in steps:
        runs, finished = [], []
        for place, each in enumerate(todo):
            try:
                run, told = step(each)
            except KeyboardInterrupt:
                return Swept(tuple(runs), tuple(failed), tuple(todo[place:]))
            except Exception as error:  # of any kind: the others still get their turn
                told = str(error) if isinstance(error, CodialError) else f"{type(error).__name__}: {error}"
                failed.append((each, told))
                say(f"{place + 1}/{len(todo)} {each}: FAILED, {told}")
                continue
            say(f"{place + 1}/{len(todo)} {each}: {told}, {run.folder}")
            if not run.finished:
                return Swept(tuple(runs), tuple(failed), tuple(todo[place:]))
            runs.append(run)
            finished.append(each)
        todo = finished
    return Swept(tuple(runs), tuple(failed), ())


def _trained(each: Planned, root: str | Path | None, progress: bool) -> tuple[Run, str]:
    """Return the run, and what became of it."""
    finished = (each.folder / "config.json").exists() and open_run(each.folder).finished
    run = pretrain(each.config, each.folder, root=root, progress=progress)
    if not run.finished:
        return run, f"stopped at epoch {run.progress.get('epoch', 0)}"
    return run, "was finished" if finished else "trained"


class _Measures:
    """Measures one run after another; the pictures of the last set are kept, for the next run mostly needs them too."""

    def __init__(self, root: str | Path | None, progress: bool) -> None:
        self.root, self.progress = root, progress
        self.kept: dict[tuple[str, int | None], tuple[Pictures, Pictures]] = {}

    def measured(self, each: Planned) -> tuple[Run, str]:
        run = open_run(each.folder)
        compare([run], lambda: self._pictures(run), progress=self.progress, device=run.config.train.device)
        return run, "measured"

    def _pictures(self, run: Run) -> tuple[Pictures, Pictures]:
        data = run.config.data
        key = (data.source, data.size)
        if key not in self.kept:
            known, asked = (load_images(data.source, s, root=self.root, size=data.size) for s in ("train", "test"))
            self.kept = {key: (known, asked)}
        return self.kept[key]
