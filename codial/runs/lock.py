"""Lock on a run's folder: one process trains a run; the operating system releases the lock when the process ends."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from codial.errors import CodialError
from codial.runs.run import LOCK, require_run_or_empty
from codial.utils.atomic_io import make_folder, write_error


@contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Lock a run's folder, which is created if needed, for training.

    The lock is released at the end of the block, or when the process ends, even if it is killed. On a file system
    without locks, such as some network drives, a warning is issued and other processes are not locked out.

    Raises:
        CodialError: the run is being trained by another process or another thread of this one, or the folder holds
            something other than a run or is not writable.
    """
    folder = Path(folder)
    require_run_or_empty(folder)
    make_folder(folder)
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise write_error(folder / LOCK, error) from error
    try:
        _require_lock(handle, folder)
        yield
    finally:
        os.close(handle)


def is_training(folder: str | Path) -> bool:
    """Return whether a run is being trained; always False on a file system without locks."""
    path = Path(folder) / LOCK
    try:
        handle = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except OSError:  # nobody has trained there
        return False
    try:
        return not _try_lock(handle)
    except OSError:
        return False
    finally:
        os.close(handle)


def _require_lock(handle: int, folder: Path) -> None:
    try:
        locked = _try_lock(handle)
    except OSError as error:
        warnings.warn(
            f"{folder} is on a file system without locks ({error.strerror}): nothing prevents a second process from"
            " training the same run.",
            stacklevel=4,
        )
        return
    if not locked:
        raise CodialError(
            f"{folder} is already being trained. Wait until it has finished, follow it with"
            " `codial.open_run`, or use another folder."
        )


def _try_lock(handle: int) -> bool:
    """Try to lock a file; several times, because `is_training` holds the lock for an instant as well."""
    for _ in range(_ATTEMPTS):
        if lock_descriptor(handle, blocking=False):
            return True
        time.sleep(_INTERVAL)
    return False


_ATTEMPTS = 3
_INTERVAL = 0.01  # seconds
