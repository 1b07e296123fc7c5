"""Open several runs by their folders, or train those that are missing."""

import time
from collections.abc import Iterable
from pathlib import Path

from codial.errors import CodialError
from codial.methods.presets import heads, is_preset, preset
from codial.runs.lock import is_training
from codial.runs.publish import WEIGHTS
from codial.runs.run import Run, open_run
from codial.training.pretrain import pretrain
from codial.utils.paths import project_path
from codial.utils.progress import progress_bar


def open_or_pretrain(folders: str, root: str | Path | None = None) -> dict[str, Run]:
    """Open runs, and train missing ones with the preset that corresponds to their folder; wait for those in training.

    The preset of runs/photos/codial is codial/photos: the last two parts of the path in reverse order.

    Args:
        folders: folders, separated by commas; relative ones are below the project folder. A name of exported weights,
            such as codial-cifar10, is their folder in results/weights.
        root: folder of datasets, for training.

    Returns:
        The runs by name, in the given order.

    Raises:
        CodialError: no folder is given, or one is neither a run nor corresponds to a preset.
    """
    paths = [_resolve(part.strip()) for part in folders.split(",") if part.strip()]
    if not paths:
        raise CodialError(f"runs is {folders!r}; expected folders separated by commas, such as runs/photos/codial.")
    return by_name(_open_or_pretrain(path, root) for path in paths)


def open_published(patterns: str) -> list[Run]:
    """Open published runs, sorted by the presets' order of methods, then by seed.

    Args:
        patterns: glob patterns of folders below the project folder, separated by commas, such as results/cifar10*/*.

    Raises:
        CodialError: no folder matches, or one is not a run.
    """
    root = project_path(".")
    paths = (path for pattern in patterns.split(",") if pattern.strip() for path in root.glob(pattern.strip()))
    runs = [open_run(path) for path in sorted(set(paths)) if path.is_dir()]
    if not runs:
        raise CodialError(f"No published run matches {patterns!r} below {root}; expected folders of `codial publish`.")
    order = {head: index for index, head in enumerate(heads())}
    return sorted(runs, key=lambda run: (order.get(run.config.name.split("/")[0], len(order)), run.config.seed))


def by_name(runs: Iterable[Run]) -> dict[str, Run]:
    """Return runs by name, or by folder if two have the same name."""
    runs = list(runs)
    names = [run.config.name for run in runs]
    return {name if names.count(name) == 1 else str(run.folder): run for name, run in zip(names, runs, strict=True)}


def _resolve(part: str) -> Path:
    """Return the folder of exported weights of this name, or the folder itself."""
    exported = project_path(WEIGHTS) / part
    return exported if "/" not in part and (exported / "config.json").is_file() else project_path(part)


def _open_or_pretrain(path: Path, root: str | Path | None) -> Run:
    _wait_while_training(path)
    if (path / "config.json").exists() and open_run(path).progress:
        return open_run(path)
    name = f"{path.name}/{path.parent.name}"
    if not is_preset(name):
        raise CodialError(
            f"{path} is not a run, and {name!r} is not a preset. Train it with `codial pretrain PRESET --out {path}`,"
            " or use a folder that ends in RECIPE/METHOD, such as runs/photos/codial."
        )
    return pretrain(preset(name), path, root=root)


def _wait_while_training(path: Path) -> None:
    """Wait while a run is being trained, as by another notebook."""
    bar = progress_bar(desc=f"waiting for {path.parent.name}/{path.name}, which is being trained", unit=" s")
    with bar:
        while is_training(path):
            time.sleep(1)
            bar.update()
