"""From what is typed to what the package's functions take: runs, images and changed settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import codial
from codial.errors import CodialError
from codial.runs.summary import require_run

if TYPE_CHECKING:
    from codial.data import Dataset
    from codial.runs.run import Run


def require_runs(folders: Sequence[Path]) -> None:
    """Check that all folders are runs, before anything heavy is imported.

    Raises:
        CodialError: a folder is not a run.
    """
    for folder in folders:
        require_run(folder)


def open_runs(folders: Sequence[Path]) -> "dict[str, Run]":
    """Return runs by name, or by folder if several have the same name.

    Raises:
        CodialError: a folder is not a run.
    """
    require_runs(folders)
    from codial.experiments.open_runs import by_name

    return by_name(codial.open_run(folder) for folder in folders)


class LabeledData(NamedTuple):
    """The options that choose training and test images."""

    train: str | None
    train_split: str
    test: str | None
    test_split: str
    limit: int | None
    root: Path | None

    def load(self, run: "Run") -> "tuple[Dataset, Dataset]":
        """Return training and test images; their default is the data set of a run, at the run's image size."""
        train = load_images(run, self.train, self.train_split, self.limit, self.root)
        if (self.test or self.train, self.test_split) == (self.train, self.train_split):
            return train, train
        return train, load_images(run, self.test or self.train, self.test_split, self.limit, self.root)


def load_images(run: "Run", source: str | None, split: str, limit: int | None, root: Path | None) -> "Dataset":
    """Return images of a data set or a folder, or of the run's data set at its image size if `source` is None."""
    size = run.config.data.size if source is None else None
    return codial.load_images(source or run.config.data.source, split, root=root, size=size, limit=limit)


def default_split(source: str, split: str) -> str:
    """Return the split to use where none is given: all of a folder without sub-folders for splits, else `split`."""
    from codial.methods.own_images import has_held_out, is_own_folder

    return "all" if is_own_folder(source) and not has_held_out(source) else split


def parse_changes(changes: Sequence[str] | None, device: str = "auto") -> dict[str, str]:
    """Return the settings that --set and --device change, by dotted name.

    Raises:
        CodialError: one is not KEY=VALUE.
    """
    for change in changes or ():
        if "=" not in change:
            raise CodialError(f"--set got {change!r}; expected KEY=VALUE, such as train.epochs=5.")
    settings = dict(change.split("=", 1) for change in changes or ())
    return settings if device == "auto" else settings | {"train.device": device}


def split_names(text: str) -> tuple[str, ...]:
    """Return names that are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
