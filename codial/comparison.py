"""Runs side by side: opened by their folders, and made first where they are missing."""

from collections.abc import Iterable
from pathlib import Path

from codial.errors import CodialError
from codial.parameters import project_path
from codial.presets import PRESETS, preset
from codial.pretrain import pretrain
from codial.results import WEIGHTS
from codial.runs import Run, open_run


def open_or_pretrain(folders: str, root: str | Path | None = None) -> dict[str, Run]:
    """Open runs, and train those that are missing by the preset that their folder names.

    The preset of runs/photos/codial is codial/photos: the last two parts of the path, turned round.

    Args:
        folders: separated by commas; relative ones lie below the project, wherever a notebook runs. The name of
            exported weights, such as codial-cifar10, stands for their folder in results/weights.
        root: where data sets lie, for those that are trained.

    Returns:
        The runs by name, in the order given.

    Raises:
        CodialError: no folder is given, or one is no run and names no preset.
    """
    paths = [_place(part.strip()) for part in folders.split(",") if part.strip()]
    if not paths:
        raise CodialError(f"runs is {folders!r}; expected folders separated by commas, such as runs/photos/codial.")
    return by_name(_open_or_pretrain(path, root) for path in paths)


def open_published(patterns: str) -> list[Run]:
    """Open what was published of runs, the presets' systems in their order, and each system's seeds in theirs.

    Args:
        patterns: of folders below the project, separated by commas, such as results/cifar10*/*.

    Raises:
        CodialError: no folder matches, or one is no run.
    """
    root = project_path(".")
    found = (path for pattern in patterns.split(",") if pattern.strip() for path in root.glob(pattern.strip()))
    runs = [open_run(path) for path in sorted(set(found)) if path.is_dir()]
    if not runs:
        raise CodialError(f"Nothing is published as {patterns!r} below {root}; `codial publish RUN` puts it there.")
    places = {name: place for place, name in enumerate(PRESETS)}
    return sorted(runs, key=lambda run: (places.get(run.config.name, len(places)), run.config.seed))


def by_name(runs: Iterable[Run]) -> dict[str, Run]:
    """Return runs by their names, or by their folders where two have the same name."""
    runs = list(runs)
    names = [run.config.name for run in runs]
    return {name if names.count(name) == 1 else str(run.folder): run for name, run in zip(names, runs, strict=True)}


def _place(part: str) -> Path:
    """Return the folder that is meant: of exported weights if they have that name."""
    exported = project_path(WEIGHTS) / part
    return exported if "/" not in part and (exported / "config.json").is_file() else project_path(part)


def _open_or_pretrain(path: Path, root: str | Path | None) -> Run:
    if (path / "config.json").exists() and open_run(path).progress:
        return open_run(path)
    name = f"{path.name}/{path.parent.name}"
    if name not in PRESETS:
        raise CodialError(
            f"{path} is not a run, and {name!r} is no preset that could make it. Make it with `codial pretrain PRESET"
            f" --out {path}`, or name a folder that ends in SCALE/SYSTEM, such as runs/photos/codial."
        )
    return pretrain(preset(name), path, root=root)
