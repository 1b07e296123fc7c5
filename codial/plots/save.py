"""Saving figures to files."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure

from codial.errors import CodialError
from codial.plots.style import pdf, png
from codial.utils.atomic_io import write_atomic

FORMATS: dict[str, Callable[[Figure], bytes]] = {".png": partial(png, dpi=220), ".pdf": pdf}  # for paper


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG or PDF, depending on the path's suffix.

    An existing file is never replaced: the new one gets a number, such as neighbors-2.png. Missing folders are created.

    Returns:
        The path of the new file.

    Raises:
        CodialError: The path has another suffix, or the file cannot be written.
    """
    path = Path(path).expanduser()
    require_format(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = next(each for each in _numbered(path) if not each.exists())
    except OSError as error:
        raise CodialError(
            f"{path} cannot be written: {error.strerror}. Choose a file in a folder that you may write to."
        ) from error
    write_atomic(free, FORMATS[free.suffix](figure))
    return free


def require_format(path: Path) -> None:
    """Check a path's suffix.

    Raises:
        CodialError: It is neither .png nor .pdf.
    """
    if path.suffix not in FORMATS:
        raise CodialError(f"The file is {str(path)!r}; expected a name that ends in {' or '.join(FORMATS)}.")


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")
