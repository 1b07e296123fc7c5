"""A folder as users write it: its path, and how it is to be read if they chose, `FOLDER#splits`."""

from pathlib import Path
from typing import NamedTuple

from codial.data.checks import unknown_name
from codial.data.folders.interpret import CHOICES


class FolderSource(NamedTuple):
    """A folder of images."""

    path: Path
    choices: frozenset[str] = frozenset()  # of `codial.data.folders.interpret.CHOICES`


def parse_folder(source: str | Path) -> FolderSource:
    """Separate the path of a folder from the reading that is chosen; a folder whose own name has a "#" is found, too.

    Raises:
        CodialError: The folder exists, but there is no such reading.
    """
    path = Path(source).expanduser()
    before, mark, words = str(path).rpartition("#")
    if not mark or path.exists():
        return FolderSource(path)
    choices = frozenset(words.split(","))
    if unknown := sorted(choices - set(CHOICES)):
        if Path(before).is_dir():
            raise unknown_name(f"reading of {before}", unknown[0], CHOICES)
        return FolderSource(path)
    return FolderSource(Path(before), choices)


def absolute(source: str) -> str:
    """Return the source of a folder that exists with its absolute path; anything else as it is."""
    folder = parse_folder(source)
    if source.startswith("~") or not folder.path.is_dir():  # "~" means the same everywhere
        return source
    return str(folder.path.resolve()) + "#" * bool(folder.choices) + ",".join(sorted(folder.choices))
