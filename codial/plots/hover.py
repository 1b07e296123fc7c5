"""Values for who points at a mark: what a figure's bars and points say, and where in its picture they are."""

from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox, BboxBase

from codial.plots.style import png

_TELLS = "tells\n"  # how the id of an artist with words begins
_LEAST = 10  # pixels: nothing is smaller to a pointer


class Spot(NamedTuple):
    """A place in a picture and its words; lengths are parts of the picture's width or height, from its upper left."""

    left: float
    top: float
    width: float
    height: float
    words: str


def tell(artist: Patch | Line2D, *words: str) -> None:
    """Give a bar its words, or each point of a line its own."""
    artist.set_gid(_TELLS + "\n".join(words))


def with_spots(figure: Figure) -> tuple[bytes, list[Spot]]:
    """Render a figure to PNG bytes, and return where in it the words are, from left to right."""
    picture = png(figure)
    told = figure.findobj(lambda artist: (artist.get_gid() or "").startswith(_TELLS))
    return picture, sorted(spot for artist in told for spot in _spots(figure, artist))


def _spots(figure: Figure, artist: Artist) -> list[Spot]:
    words = str(artist.get_gid()).removeprefix(_TELLS).split("\n")
    boxes = _points(artist) if isinstance(artist, Line2D) else [artist.get_window_extent()]
    return [_spot(figure.bbox, box, each) for box, each in zip(boxes, words, strict=True)]


def _points(line: Line2D) -> list[BboxBase]:
    return [Bbox.from_bounds(x, y, 0, 0) for x, y in line.get_transform().transform(line.get_xydata())]


def _spot(picture: BboxBase, box: BboxBase, words: str) -> Spot:
    wide, high = max(box.width, _LEAST), max(box.height, _LEAST)
    left, top = (box.x0 + box.x1 - wide) / 2, picture.height - (box.y0 + box.y1 + high) / 2
    return Spot(left / picture.width, top / picture.height, wide / picture.width, high / picture.height, words)
