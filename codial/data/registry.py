"""Load images by name: the data sets that codial knows, or a folder."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from codial.data import download as downloads
from codial.data.catalog import ENTRIES, Entry, find_entry
from codial.data.checks import check_int, check_split, unknown_name
from codial.errors import CodialError

if TYPE_CHECKING:  # torch is imported once a data set is loaded
    from codial.data.base import Dataset
    from codial.data.in_memory import ImageSet

SETS = tuple(ENTRIES)
STORAGES = ("auto", "memory", "files")


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
    storage: str = "auto",
) -> "Dataset":
    """Load the images of a named data set or of a folder.

    Args:
        source: One of `SETS`, or the path of a folder. A string that is a name means the data set, a `Path` always
            means the folder (as does "./photos").
        split: Usually "train" or "test"; of a folder also "all", and "val" if it has a `val` folder.
        root: The folder of the named data sets; defaults to the environment variable CODIAL_DATA, then to `data/` of
            the project.
        size: Side in pixels to which image files are resized and cropped; defaults to the data set's own (96 for a
            folder). Data sets of one size cannot be resized: leave it None.
        limit: Maximum number of images, a random sample stratified by class; None loads all.
        seed: Seed of that sample, at least 0.
        strict: Raise an error for an image file that cannot be decoded, instead of skipping it with a warning.
        download: Download a public data set first if it is missing.
        storage: "memory" decodes all images at once, "files" decodes each file when it is requested, "auto" uses
            "files" if the images would take more than 4 GiB (`codial.data.file_list.MEMORY_LIMIT`).

    Returns:
        An `ImageSet` (images [N, 3, H, W] uint8, labels [N] int64), or `ImageFiles` for images that stay on disk.

    Raises:
        CodialError: An unknown name or split, missing or damaged files, a size that the data set does not have, or
            an argument out of range.
    """
    if storage not in STORAGES:
        raise CodialError(f"storage is {storage!r}; expected one of: {', '.join(STORAGES)}.")
    if limit is not None:
        check_int("limit", limit, minimum=1)
        check_int("seed", seed, minimum=0)
    if not isinstance(source, str) or source not in ENTRIES:
        folder = _as_folder(source)
        reader = import_module("codial.data.datasets.image_folder")
        return reader.read(folder, split, size=size, limit=limit, seed=seed, strict=strict, storage=storage)
    entry = ENTRIES[source]
    check_split(split, entry.splits, source)
    if download:
        downloads.get(source, data_root(root))
    if entry.image_size is not None:
        return _load_fixed_size(entry, data_root(root), split, size, limit, seed, storage)
    options = {"size": size, "limit": limit, "seed": seed, "strict": strict, "storage": storage}
    return import_module(entry.module).read(data_root(root), split, **entry.arguments, **options)


def describe(name: str, root: str | Path | None = None) -> str:
    """Return in one line whether a named data set is present, and otherwise how to get it.

    Raises:
        CodialError: No data set has this name.
    """
    return f"{name}: {find_entry(name).status(data_root(root))}"


def splits_of(name: str) -> tuple[str, ...]:
    """Return the splits of a named data set.

    Raises:
        CodialError: No data set has this name.
    """
    return find_entry(name).splits


def problems(name: str, split: str, root: str | Path | None = None) -> list[str]:
    """List what is missing or damaged in a split of a named data set, without decoding images.

    Raises:
        CodialError: No data set has this name, or it has no such split.
    """
    entry = find_entry(name)
    check_split(split, entry.splits, name)
    return import_module(entry.module).problems(data_root(root), split, **entry.arguments)


def is_absent(problems: list[str]) -> bool:
    """Return whether the problems of a split are that it is not there at all: its list or its files do not exist."""
    return len(problems) == 1 and "does not exist" in problems[0]


def data_root(root: str | Path | None = None) -> Path:
    """Return the folder of the named data sets.

    It is the argument, else CODIAL_DATA, else `data/` of the checkout, else `data/` in the current folder.
    """
    given = root or os.environ.get("CODIAL_DATA")
    if given:
        return Path(given).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()) / "data"


def _load_fixed_size(
    entry: Entry, root: Path, split: str, size: int | None, limit: int | None, seed: int, storage: str
) -> "ImageSet":
    if size not in (None, entry.image_size):
        raise CodialError(
            f"Images of {entry.name} are {entry.image_size} pixels a side, not {size}; leave size out (views are"
            " resized when they are sampled)."
        )
    if storage == "files":
        raise CodialError(f'{entry.name} is always read into memory; storage="files" is for data sets of image files.')
    return import_module(entry.module).read(root, split, limit=limit, seed=seed)


def _as_folder(source: str | Path) -> Path:
    """Return the path of a folder; a single word that is neither a name nor a folder gets the error about names."""
    if not isinstance(source, str | Path):
        raise CodialError(f"source is {source!r}; expected one of {', '.join(SETS)}, or the path of a folder.")
    path = Path(source).expanduser()
    if source == "" or (isinstance(source, str) and source == path.name and not path.exists()):
        raise unknown_name("data set or folder", source, SETS, hint="Or the path of a folder of images.")
    return path
