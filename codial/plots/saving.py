"""Figures in files whose names a person chose."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure

from codial.errors import CodialError
from codial.plots.style import pdf, png
from codial.writing import write_safely

FORMATS: dict[str, Callable[[Figure], bytes]] = {".png": partial(png, dpi=220), ".pdf": pdf}  # for paper


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG or PDF, as the path's ending says.

    Nothing is replaced: where the file is there already, the new one gets a number, such as neighbours-2.png. Missing
    folders are made.

    Returns:
        The file.

    Raises:
        CodialError: another ending, or the file cannot be written.
    """
    path = Path(path).expanduser()
    require_format(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = next(each for each in _numbered(path) if not each.exists())
    except OSError as error:
        raise CodialError(f"{path} can't be written: {error.strerror}. Choose a file in a folder of yours.") from error
    write_safely(free, FORMATS[free.suffix](figure))
    return free


def require_format(path: Path) -> None:
    """Refuse a file that is neither PNG nor PDF by its ending.

    Raises:
        CodialError: it is not.
    """
    if path.suffix not in FORMATS:
        raise CodialError(f"The file is {str(path)!r}; expected one that ends in {' or '.join(FORMATS)}.")


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")
