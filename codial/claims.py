"""Who trains a run: a lock on its folder, which ends with the process that holds it."""

import fcntl
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codial.errors import CodialError
from codial.writing import make_folder


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Keep a run's folder for this caller alone; the claim ends with the block, or with the process, however it dies.

    On a file system without locks, such as some network drives, nobody is kept out, and a warning says so.

    Raises:
        CodialError: another process, or another thread of this one, is training there.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CodialError(f"{folder} is not a run but a file; name a folder.")
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def being_trained(folder: str | Path) -> bool:
    """Say whether somebody trains a run right now; never on a file system without locks."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # there is no such folder
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _lock(handle: int, folder: Path) -> None:
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)  # `being_trained` holds the lock for a moment, too
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CodialError(
            f"{folder} is being trained by someone else right now. Wait for it, watch it with"
            " `codial.open_run`, or name another folder."
        ) from error
    except OSError as error:
        warnings.warn(
            f"{folder} lies where there are no locks ({error.strerror}): nobody keeps a second process from training"
            " there, too.",
            stacklevel=4,
        )
