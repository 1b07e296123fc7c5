"""What several commands print and write."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codial.errors import CodialError
from codial.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from codial.experiments.sweep import SweepResult

OK, FAILED, INTERRUPTED = 0, 2, 130  # exit codes; 130 is what shells report for Ctrl-C, and stands for all signals


def print_error(message: Any) -> None:
    """Print one message, as `codial: MESSAGE` in one line, to stderr, unless nothing can be written there."""
    with suppress(OSError):
        print(f"codial: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


@contextmanager
def plotting() -> Iterator[None]:
    """Explain a missing matplotlib, which training does not need.

    Raises:
        CodialError: matplotlib or a package that it needs is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise CodialError(f"Figures need matplotlib ({error}): pip install 'codial[notebooks]'.") from error


def require_writable(path: Path, suffixes: Sequence[str]) -> None:
    """Check the name of an output file before anything is computed.

    Raises:
        CodialError: its suffix is not one of `suffixes`, or it is a folder.
    """
    if path.suffix not in suffixes:
        raise CodialError(f"--out is {str(path)!r}; expected a file name that ends in {', '.join(suffixes)}.")
    if path.is_dir():
        raise CodialError(f"--out is {str(path)!r}, which is a folder; expected a file name.")


def write_file(path: Path, content: bytes) -> None:
    """Write a file, create its folder if it is missing, and print its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    print(f"Wrote {path}")


def print_sweep(result: "SweepResult", planned: int) -> int:
    """Print what a sweep did, and return the exit code: 130 if it was stopped, 2 if a run failed."""
    print(f"{len(result.done)} of {planned} done.")
    for run, reason in result.failed:
        print(f"Failed: {run}, {run.folder}: {reason}")
    if result.interrupted:
        print(f"Remaining: {'; '.join(map(str, result.remaining))}. The same command continues.")
        return INTERRUPTED
    return FAILED if result.failed else OK
