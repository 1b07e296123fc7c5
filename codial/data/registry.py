"""Load images by name: codial's data sets, registered ones, those of Hugging Face, or a folder."""

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codial.data import download as downloads
from codial.data.catalog import ENTRIES, Entry, find_entry
from codial.data.checks import check_int, check_split, unknown_name
from codial.data.folders.source import absolute, parse_folder
from codial.data.io.hugging_face import PREFIX, parse_name
from codial.data.registered import DATASETS
from codial.errors import CodialError
from codial.utils.plugins import identity

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
    """Load the images of a named data set, of a data set of Hugging Face, or of a folder.

    Args:
        source: One of `data_sets()`; "hf:NAME", a data set of Hugging Face's library `datasets` (see
            `codial.data.datasets.hugging_face.read`); or the path of a folder. A string that is a name means the data
            set, a `Path` always means the folder (as does "./photos").
        split: Usually "train" or "test"; of a folder or "hf:NAME" also "all", and "val" if there is one.
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
    options: dict[str, Any] = {"size": size, "limit": limit, "seed": seed, "strict": strict, "storage": storage}
    if not isinstance(source, str) or source not in ENTRIES:
        return _other_reader(source, root)(split, **options)
    entry = ENTRIES[source]
    check_split(split, entry.splits, source)
    if download:
        downloads.get(source, data_root(root))
    if entry.image_size is not None:
        return _load_fixed_size(entry, data_root(root), split, size, limit, seed, storage)
    return import_module(entry.module).read(data_root(root), split, **entry.arguments, **options)


def data_sets() -> tuple[str, ...]:
    """Return the names of codial's data sets, and of the registered ones."""
    return (*SETS, *DATASETS.names())


def name_of(source: str | Path) -> str:
    """Return the name that the images of a source have, also in reports, without loading them."""
    if isinstance(source, str) and source.startswith(PREFIX):
        return parse_name(source).name
    return parse_folder(source).path.name


def absolute_source(source: str) -> str:
    """Return a source that means the same in every working directory: a local folder or file by its absolute path."""
    if source.startswith(PREFIX):
        return parse_name(source).absolute
    return source if source in data_sets() else absolute(source)


def describe(name: str, root: str | Path | None = None) -> str:
    """Return in one line whether a named data set is present, and otherwise how to get it.

    Raises:
        CodialError: No data set has this name.
    """
    if name in DATASETS.names():
        return _describe_registered(name)
    return f"{name}: {find_entry(name).status(data_root(root))}"


def _describe_registered(name: str) -> str:
    try:
        cls = DATASETS.get(name)
    except CodialError as error:  # of a broken package
        return f"{name}: {error}"
    return f"{name}: registered by {identity(cls)}: {', '.join(cls.splits)}"


def splits_of(name: str) -> tuple[str, ...]:
    """Return the splits of a named data set or of "hf:NAME".

    Raises:
        CodialError: No data set has this name, or that of Hugging Face cannot be loaded.
    """
    if name.startswith(PREFIX):
        return import_module("codial.data.datasets.hugging_face").splits_of(name)
    if name in DATASETS.names():
        return DATASETS.get(name).splits
    return find_entry(name).splits


def problems(name: str, split: str, root: str | Path | None = None) -> list[str]:
    """List what is missing or damaged in a split of a named data set, without decoding images.

    Of a registered data set nothing is known before it is read.

    Raises:
        CodialError: No data set has this name, or it has no such split.
    """
    if name in DATASETS.names():
        check_split(split, splits_of(name), name)
        return []
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


def _other_reader(source: str | Path, root: str | Path | None) -> "Callable[..., Dataset]":
    """Return the function of a split that reads a registered data set, one of Hugging Face, or a folder."""
    if isinstance(source, str) and source.startswith(PREFIX):
        return partial(import_module("codial.data.datasets.hugging_face").read, source)
    if isinstance(source, str) and source in DATASETS.names():
        if Path(source).is_dir():
            raise CodialError(
                f"{source!r} is a registered data set and a folder; write ./{source} for the folder, or register the"
                " data set under another name."
            )
        return partial(import_module("codial.data.datasets.registered").read, source, root=data_root(root))
    folder = as_folder(source)
    return partial(import_module("codial.data.datasets.image_folder").read, folder)


def as_folder(source: str | Path) -> Path:
    """Return the path of a folder; a single word that is neither a name nor a folder gets the error about names."""
    if not isinstance(source, str | Path):
        raise CodialError(f"source is {source!r}; expected one of {', '.join(data_sets())}, or the path of a folder.")
    path = parse_folder(source).path
    if source == "" or (isinstance(source, str) and "/" not in source and not path.exists()):
        hint = f"Or the path of a folder of images ({Path.cwd() / source} does not exist), or {PREFIX}NAME for a data"
        hint += " set of Hugging Face."
        raise unknown_name("data set or folder", source, data_sets(), f"{hint} {DATASETS.how_to_register}")
    return Path(source)
