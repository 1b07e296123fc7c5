"""Tooltips of a figure's bars and points, and their positions in its PNG."""

from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox, BboxBase

from codial.plots.style import png

_PREFIX = "tooltip\n"  # of the gid of an artist that has tooltips
_MIN_SIZE = 10  # pixels, so that small marks can be hovered


class Tooltip(NamedTuple):
    """A rectangle in an image and its text; lengths are fractions of the image's width or height, from its top left."""

    left: float
    top: float
    width: float
    height: float
    text: str


def set_tooltips(artist: Patch | Line2D, *texts: str) -> None:
    """Attach one tooltip to a bar, or one to each point of a line."""
    artist.set_gid(_PREFIX + "\n".join(texts))


def png_with_tooltips(figure: Figure) -> tuple[bytes, list[Tooltip]]:
    """Render a figure to PNG bytes and return its tooltips, from left to right."""
    image = png(figure)
    artists = figure.findobj(lambda artist: (artist.get_gid() or "").startswith(_PREFIX))
    return image, sorted(tooltip for artist in artists for tooltip in _tooltips(figure, artist))


def _tooltips(figure: Figure, artist: Artist) -> list[Tooltip]:
    texts = str(artist.get_gid()).removeprefix(_PREFIX).split("\n")
    boxes = _points(artist) if isinstance(artist, Line2D) else [artist.get_window_extent()]
    return [_tooltip(figure.bbox, box, text) for box, text in zip(boxes, texts, strict=True)]


def _points(line: Line2D) -> list[BboxBase]:
    return [Bbox.from_bounds(x, y, 0, 0) for x, y in line.get_transform().transform(line.get_xydata())]


def _tooltip(image: BboxBase, box: BboxBase, text: str) -> Tooltip:
    width = max(box.width, _MIN_SIZE)
    height = max(box.height, _MIN_SIZE)
    left = (box.x0 + box.x1 - width) / 2
    top = image.height - (box.y0 + box.y1 + height) / 2
    return Tooltip(left / image.width, top / image.height, width / image.width, height / image.height, text)
