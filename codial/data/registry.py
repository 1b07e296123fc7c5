"""Find pictures by name: the sets that codial knows, or a folder."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from codial.data import cifar, folder, photos, voc
from codial.data.pictures import Pictures, check_whole
from codial.data.splits import check_split, unknown
from codial.errors import CodialError


class _Reader(NamedTuple):
    read: Callable[[Path, str], Pictures]  # of the data root and a split
    status: Callable[[Path], str]
    splits: tuple[str, ...]
    side: int  # pixels
    download: Callable[[Path], None] | None = None  # None: nothing to download


_READERS = {
    "photos": _Reader(photos.read, photos.status, photos.SPLITS, photos.SIDE),
    "cifar10": _Reader(cifar.read, cifar.status, cifar.SPLITS, cifar.SIDE, cifar.download),
    "voc2007": _Reader(
        lambda root, split: voc.read(root, 2007, split), partial(voc.status, year=2007), voc.SPLITS, voc.SIDE
    ),
    "voc2012": _Reader(
        lambda root, split: voc.read(root, 2012, split), partial(voc.status, year=2012), voc.SPLITS, voc.SIDE
    ),
}
SETS = tuple(_READERS)


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
        split: "train" or "test"; of a folder also "val", where it has one, and "all".
        root: where the named sets lie; without it the environment variable CODIAL_DATA, then `data/` of the project.
        size: of a folder's pictures, in pixels a side (96 if None). A named set keeps its own: leave it None.
        limit: how many pictures at most, chosen at random, every class by its share; None means all.
        seed: of that choice, 0 or more.
        strict: of a folder: a picture that does not decode is an error, not skipped with a warning.
        download: fetch a public set first if it is missing.
        keep: "memory" decodes all pictures at once; "files", for a folder, decodes each whenever it is asked for;
            "auto" takes "files" when all would fill more than 4 GiB (`codial.data.folder.MEMORY_LIMIT`).

    Returns:
        The set: an `ImageSet` (images [N, 3, H, W] uint8, labels [N] int64), or `PictureFiles` where it stays on disk.

    Raises:
        CodialError: whatever the caller can mend: an unknown name or split, missing or damaged files, a size that the
            set does not have, a number or a word out of range.
    """
    if keep not in folder.KEEPS:
        raise CodialError(f"keep is {keep!r}; expected one of: {', '.join(folder.KEEPS)}.")
    if limit is not None:
        check_whole("limit", limit, least=1)
        check_whole("seed", seed, least=0)
    if not isinstance(source, str) or source not in _READERS:
        return folder.read(_as_folder(source), split, size=size, limit=limit, seed=seed, strict=strict, keep=keep)
    reader = _READERS[source]
    check_split(split, reader.splits, source)
    if size not in (None, reader.side):
        raise CodialError(
            f"{source} is {reader.side} pixels a side, not {size}; leave size out (views do the resizing)."
        )
    if keep == "files":
        raise CodialError(f'{source} is read whole; leave keep out (keep="files" is for a folder of pictures).')
    place = data_root(root)
    if download and reader.download is not None:
        reader.download(place)
    images = reader.read(place, split)
    return images if limit is None else images.subset(limit, seed)


def describe(name: str, root: str | Path | None = None) -> str:
    """Say in one line whether a named set is there, and otherwise how to get it.

    Raises:
        CodialError: no set has this name.
    """
    if name not in _READERS:
        raise unknown("set", name, SETS)
    return f"{name}: {_READERS[name].status(data_root(root))}"


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
