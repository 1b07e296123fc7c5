"""Data sets of users' own: classes by name, from a notebook cell, a file or an installed package.

Nothing here imports torch, so that listing data sets is fast; `codial.data.datasets.registered` reads them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from codial.data.catalog import ENTRIES
from codial.errors import CodialError
from codial.utils.plugins import Registry, identity

T = TypeVar("T", bound=type)


def register(name: str) -> Callable[[T], T]:
    """Return a class decorator that registers a data set under a name, which `data.source` and `load_images` then take.

    The class, whose constructor takes no arguments, has

    - `splits`, a tuple of names, such as ("train", "test");
    - `read(self, split)`, which returns a `Dataset`: an `ImageSet`, most easily by `codial.data.from_arrays` or
      `codial.data.from_pairs`. It may take any of `root` (folder of the named data sets), `size`, `limit`, `seed`,
      `strict` and `storage` in addition, as `load_images` does; codial itself limits what it returns.

    Installed packages name their classes as entry points of the group `codial.datasets`.

    Raises:
        CodialError: the name is invalid or taken, or `splits` or `read` is missing.
    """
    return DATASETS.register(name)


def _check(name: str, cls: Any) -> None:
    """Raise a CodialError if a name is that of one of codial's data sets, or a class lacks what a data set has."""
    if name in ENTRIES:
        raise CodialError(
            f"The data set name {name!r} is taken by codial's own; register {identity(cls)} under another name."
        )
    if not callable(getattr(cls, "read", None)):
        raise CodialError(f"Data set {name!r}: {identity(cls)} has no method read(self, split) that returns images.")
    splits = getattr(cls, "splits", None)
    names = isinstance(splits, tuple) and all(isinstance(split, str) and split for split in splits)
    if not (splits and names and len(set(splits)) == len(splits)):
        raise CodialError(
            f"Data set {name!r}: {identity(cls)}.splits is {splits!r}; expected a tuple of distinct names, such as"
            ' ("train", "test").'
        )


DATASETS = Registry("data set", "codial.datasets", _check)
