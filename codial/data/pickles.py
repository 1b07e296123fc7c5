"""Pickles of other people's arrays, read so that no code can run."""

import io
import pickle
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
        return _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise CodialError(f"{path} cannot be read safely: {error}; get it again.") from error


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {  # what an array needs, under the names of Python 2's numpy and of today's
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows what an array needs, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no picture needs")
        return _ALLOWED[module, name]
