"""From figures to files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codial.errors import CodialError
from codial.runs import write_safely


@contextmanager
def drawing() -> Iterator[None]:
    """Explain a missing matplotlib: a machine that only trains may lack it."""
    try:
        yield
    except ImportError as error:
        raise CodialError(f"Pictures need matplotlib ({error}): pip install 'codial[notebooks]'.") from error


def write(path: Path, content: bytes) -> None:
    """Write a file, make its folder where it is missing, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safely(path, content)
    print(f"Wrote {path}")
