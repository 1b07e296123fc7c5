"""A layout: the images of a folder with their splits and classes, and how it is told."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_SHOWN = 8  # names in a line
_READ_HEIC = "`pip install pillow-heif` to read HEIC"
_SHOWN_PATHS = 3


class ImageFile(NamedTuple):
    """An image file of a folder."""

    path: str  # relative to the folder, with "/" as the separator
    split: str | None  # "train", "test" or "val"; None without split folders
    category: str | None  # name of the class folder, None if it is in none


@dataclass(frozen=True)
class Layout:
    """How a folder is understood.

    Attributes:
        files: The images, in the order of the list of files.
        split_folders: The folder of each split, relative; "" if splits are below the classes. Empty without any.
        level: The folder in which splits and classes were looked for, relative; "" for the folder itself.
        passed_over: Files and folders that are not read, by reason.
    """

    files: list[ImageFile]
    split_folders: Mapping[str, str]
    level: str
    passed_over: Mapping[str, Sequence[str]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders of all splits, sorted."""
        return tuple(sorted({file.category for file in self.files if file.category is not None}))

    def counts(self) -> dict[str | None, Counter[str | None]]:
        """Return the number of images of each class (None: in no class folder) in each split."""
        counts: dict[str | None, Counter[str | None]] = {split: Counter() for split in self.split_folders}
        for file in self.files:
            counts.setdefault(file.split, Counter())[file.category] += 1
        return counts

    def lacking(self) -> dict[str, list[str]]:
        """Return the classes that a split lacks and another has; splits without any class are not listed."""
        classes = set(self.classes)
        missing = {
            split: sorted(classes - set(count))
            for split, count in self.counts().items()
            if split and count.keys() - {None}
        }
        return {split: names for split, names in missing.items() if names}

    def lines(self, shown: int = _SHOWN) -> list[str]:
        """Return the layout in words: a line for each split, what is passed over, and classes that a split lacks.

        Args:
            shown: Number of classes that are named in a line.
        """
        lines = [self._split_line(split, count, shown) for split, count in self.counts().items()]
        if self.passed_over:
            lines.append(f"passed over: {self.passed_over_in_words()}")
        return lines + [f"{split} has no images of: {listed(names, shown)}" for split, names in self.lacking().items()]

    def passed_over_in_words(self) -> str:
        """Return what is passed over, with the number of files or folders and some of them for each reason."""
        return in_words(self.passed_over)

    def _split_line(self, split: str | None, count: Counter[str | None], shown: int) -> str:
        folder = self.split_folders.get(split, "") if split else self.level
        where = f" (in {folder}/)" if folder else ""
        names = [f"{name} {count[name]}" for name in sorted(filter(None, count))]
        classes = f"{_number(len(names), 'class', 'classes')}: {listed(names, shown)}" if names else "no classes"
        loose = f"; {count[None]:,} in no class folder" if names and count[None] else ""
        return f"{split or 'no splits'}{where}: {_number(count.total(), 'image', 'images')}, {classes}{loose}"


def in_words(passed_over: Mapping[str, Sequence[str]]) -> str:
    """Return what is passed over: the number and the first paths of each reason, and what would help."""
    reasons = [f"{why}: {len(paths):,} ({listed(paths, _SHOWN_PATHS)})" for why, paths in passed_over.items()]
    heic = [_READ_HEIC] if passed_over.keys() & {".heic files", ".heif files", ".hif files"} else []
    return "; ".join(reasons + heic)


def listed(names: Iterable[str], shown: int = _SHOWN) -> str:
    """Return names in one line, the first of them if there are many; what cannot be printed is replaced."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(name.encode("utf-8", "replace").decode() for name in names[:shown]) + more


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
