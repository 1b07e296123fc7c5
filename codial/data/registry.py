"""Find pictures by name: the sets that codial knows, or a folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from codial.data import celeba, cifar, cifar100, folder, imagenet, photos, places205, stl10, tiny_imagenet, voc
from codial.data.download import get
from codial.data.images import ImageSet
from codial.data.listed import KEEPS
from codial.data.pictures import Pictures, check_whole
from codial.data.splits import check_split, unknown
from codial.errors import CodialError


class _Read(Protocol):
    def __call__(
        self, *, root: Path, split: str, size: int | None, limit: int | None, seed: int, strict: bool, keep: str
    ) -> Pictures: ...


@dataclass(frozen=True)
class _Whole:
    """Reads a set that has one size of its own, and comes into memory."""

    name: str
    side: int  # pixels
    chosen: Callable[[Path, str, int | None, int], ImageSet]  # of the data root, a split, a limit and a seed

    def __call__(
        self, *, root: Path, split: str, size: int | None, limit: int | None, seed: int, strict: bool, keep: str
    ) -> ImageSet:
        if size not in (None, self.side):
            raise CodialError(
                f"{self.name} is {self.side} pixels a side, not {size}; leave size out (views do the resizing)."
            )
        if keep == "files":
            raise CodialError(f'{self.name} is read whole; leave keep out (keep="files" is for pictures in files).')
        return self.chosen(root, split, limit, seed)


class _Set(NamedTuple):
    read: _Read
    splits: tuple[str, ...]
    status: Callable[[Path], str]  # of the data root
    problems: Callable[[Path, str], list[str]]  # of the data root and a split


def _whole(name: str, side: int, read: Callable[[Path, str], ImageSet]) -> _Whole:
    def chosen(root: Path, split: str, limit: int | None, seed: int) -> ImageSet:
        images = read(root, split)
        return images if limit is None else images.subset(limit, seed)

    return _Whole(name, side, chosen)


def _voc(year: int) -> _Set:
    return _Set(
        partial(voc.read, year=year), voc.SPLITS, partial(voc.status, year=year), partial(voc.problems, year=year)
    )


_SETS = {
    "photos": _Set(_whole("photos", photos.SIDE, photos.read), photos.SPLITS, photos.status, photos.problems),
    "cifar10": _Set(_whole("cifar10", cifar.SIDE, cifar.read), cifar.SPLITS, cifar.status, cifar.problems),
    "cifar100": _Set(
        _whole("cifar100", cifar.SIDE, cifar100.read), cifar100.SPLITS, cifar100.status, cifar100.problems
    ),
    "stl10": _Set(_Whole("stl10", stl10.SIDE, stl10.read), stl10.SPLITS, stl10.status, stl10.problems),
    "tiny-imagenet": _Set(tiny_imagenet.read, tiny_imagenet.SPLITS, tiny_imagenet.status, tiny_imagenet.problems),
    "imagenet": _Set(imagenet.read, imagenet.SPLITS, imagenet.status, imagenet.problems),
    "places205": _Set(places205.read, places205.SPLITS, places205.status, places205.problems),
    "celeba": _Set(celeba.read, celeba.SPLITS, celeba.status, celeba.problems),
    "voc2007": _voc(2007),
    "voc2012": _voc(2012),
}
SETS = tuple(_SETS)


def load_images(
    source: str | Path,
    split: str = "train",
    *,
    root: str | Path | None = None,
    size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    strict: bool = False,
    download: bool = False,
    keep: str = "auto",
) -> Pictures:
    """Load the pictures of a named set or of a folder.

    Args:
        source: a name of `SETS`, or the path of a folder. A string that is a name means the set, a `Path` always the
            folder ("./photos" does, too).
        split: one of the set's, mostly "train" and "test"; of a folder also "val", where it has one, and "all".
        root: where the named sets lie; without it the environment variable CODIAL_DATA, then `data/` of the project.
        size: in pixels a side, of pictures that lie in files (of a folder's 96 if None). Sets of one size keep their
            own: leave it None.
        limit: how many pictures at most, chosen at random, every class by its share; None means all.
        seed: of that choice, 0 or more.
        strict: of pictures in files: one that does not decode is an error, not skipped with a warning.
        download: fetch a public set first if it is missing.
        keep: "memory" decodes all pictures at once; "files" decodes each file whenever it is asked for;
            "auto" takes "files" when all would fill more than 4 GiB (`codial.data.listed.MEMORY_LIMIT`).

    Returns:
        The set: an `ImageSet` (images [N, 3, H, W] uint8, labels [N] int64), or `PictureFiles` where it stays on disk.

    Raises:
        CodialError: whatever the caller can mend: an unknown name or split, missing or damaged files, a size that the
            set does not have, a number or a word out of range.
    """
    if keep not in KEEPS:
        raise CodialError(f"keep is {keep!r}; expected one of: {', '.join(KEEPS)}.")
    if limit is not None:
        check_whole("limit", limit, least=1)
        check_whole("seed", seed, least=0)
    if not isinstance(source, str) or source not in _SETS:
        return folder.read(_as_folder(source), split, size=size, limit=limit, seed=seed, strict=strict, keep=keep)
    named = _SETS[source]
    check_split(split, named.splits, source)
    place = data_root(root)
    if download:
        get(source, place)
    return named.read(root=place, split=split, size=size, limit=limit, seed=seed, strict=strict, keep=keep)


def describe(name: str, root: str | Path | None = None) -> str:
    """Say in one line whether a named set is there, and otherwise how to get it.

    Raises:
        CodialError: no set has this name.
    """
    splits_of(name)
    return f"{name}: {_SETS[name].status(data_root(root))}"


def splits_of(name: str) -> tuple[str, ...]:
    """Return a named set's splits.

    Raises:
        CodialError: no set has this name.
    """
    if name not in _SETS:
        raise unknown("set", name, SETS)
    return _SETS[name].splits


def problems(name: str, split: str, root: str | Path | None = None) -> list[str]:
    """Say what is missing or broken in a split of a named set, a line each; no picture is decoded.

    Raises:
        CodialError: no set has this name, or the set no such split.
    """
    check_split(split, splits_of(name), name)
    return _SETS[name].problems(data_root(root), split)


def is_absent(found: list[str]) -> bool:
    """Say whether problems are those of a split that is not there at all: that its list, or its first file, is not."""
    return len(found) == 1 and "does not exist" in found[0]


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder of the named sets: the argument, CODIAL_DATA, `data/` of the checkout, or `data/` here."""
    chosen = root or os.environ.get("CODIAL_DATA")
    if chosen:
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "data"


def _as_folder(source: str | Path) -> Path:
    """Take a source that is no name for a folder; a bare word that is neither gets the error about names."""
    if not isinstance(source, str | Path):
        raise CodialError(f"source is {source!r}; expected one of {', '.join(SETS)}, or the path of a folder.")
    path = Path(source).expanduser()
    if source == "" or (isinstance(source, str) and source == path.name and not path.exists()):
        raise unknown("set or folder", source, SETS, hint="Or the path of a folder of pictures.")
    return path
