"""Pickles of other people's arrays, read so that no code can run."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from codial.errors import CodialError


def load(path: Path) -> Any:
    """Unpickle arrays, lists, dicts, numbers and strings, and nothing else.

    Raises:
        CodialError: the pickle is damaged, or asks for anything else.
    """
    try:
        content = path.read_bytes()
        _require_bounded(content)
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise CodialError(f"{path} cannot be read safely: {error}; get it again.") from error


def _require_bounded(content: bytes) -> None:
    """Refuse lengths and places beyond the file, for which an unpickler would make room before it looks."""
    for opcode, argument, place in pickletools.genops(content):
        if opcode.name.endswith("PUT") and not 0 <= int(argument or 0) <= (place or 0):
            raise pickle.UnpicklingError(f"it remembers a value {argument}, which cannot be among those before it")


class _Empty:
    """Stands in for numpy's `_reconstruct`, which would take any shape; that of a pickle is filled in afterwards."""

    __slots__ = ()  # nothing that a pickle could set

    def __call__(self, *_: Any) -> np.ndarray:
        return np.empty(0, np.uint8)


class _Plain:
    """Stands in for numpy's `dtype`: its own types of numbers, which a pickle cannot alter afterwards."""

    __slots__ = ()

    def __call__(self, kind: Any, *_: Any) -> np.dtype:
        found = np.dtype(kind)
        if found.isbuiltin != 1 or found.hasobject:
            raise pickle.UnpicklingError(f"it holds an array of {found!r:.40}, which no picture needs")
        return found


_ALLOWED = {  # what an array needs, under the names of Python 2's numpy and of today's
    ("numpy.core.multiarray", "_reconstruct"): _Empty(),
    ("numpy._core.multiarray", "_reconstruct"): _Empty(),
    ("numpy", "ndarray"): None,  # an argument of `_reconstruct`, not to be called
    ("numpy", "dtype"): _Plain(),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows what an array needs, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no picture needs")
        return _ALLOWED[module, name]
