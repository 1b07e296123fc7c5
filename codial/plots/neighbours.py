"""Retrieval as pictures, after the paper's Figure 4: queries, and beside each its nearest neighbours."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from torch import Tensor

from codial.data import Pictures
from codial.evaluate import Found
from codial.plots.style import COLOURS, LABEL, SMALL, WIDTH, new_figure, picture_axes, pixels

LARGE, SMALLEST = 0.5, 0.3  # inches a picture: as large as the page has room for, between these
_EDGE, _GAP = 0.05, 0.09  # of a tile: its frame, and the white around it
_LINE, _LETTER = 0.17, 0.083  # inches, of a title
_TICK = Path([(-0.9, -0.1), (-0.3, -0.8), (0.9, 0.9)])


def neighbour_rows(queries: Pictures, gallery: Pictures, found: Mapping[str, Found], shown: Sequence[int]) -> Figure:
    """Draw some queries, a row each, with their neighbours in every system, nearest first.

    A neighbour with the query's label has a green frame and a tick, another a red frame and a cross. Each block's title
    tells the precision over all queries, not only those shown. Where a query has no label, nothing is marked.

    Args:
        queries: the pictures that were looked for.
        gallery: the pictures that were looked in.
        found: neighbours of every query by system, such as random, supervised and codial.
        shown: places in `queries` of those to draw.
    """
    names = [queries.classes[queries.labels[i]] if queries.labels[i] >= 0 else "" for i in shown]
    titled = {_title(name, each): each.only(shown) for name, each in found.items()}
    return query_rows(list(queries.batch(shown)), names, gallery, titled)


def query_rows(
    pictures: Sequence[Tensor], names: Sequence[str], gallery: Pictures, found: Mapping[str, Found]
) -> Figure:
    """Draw queries wherever they come from, as `neighbour_rows` does.

    Args:
        pictures: the queries, each [3, H, W] uint8.
        names: beside them; "" for none.
        gallery: the pictures that were looked in.
        found: neighbours of these queries by a block's title.
    """
    counts = [each.indices.shape[1] for each in found.values()]
    across = 1.6 + sum(counts) + 0.6 * len(counts)  # tiles, with what is between them
    tile = min(LARGE, max(SMALLEST, WIDTH / across))
    titles = [_wrapped(title, tile * count) for title, count in zip(found, counts, strict=True)]
    figure = new_figure(tile * across, tile * len(pictures) + 0.46 + _LINE * (1 + max(map(_breaks, titles), default=0)))
    figure.set_layout_engine("compressed")  # for axes of a fixed aspect
    blocks = figure.subplots(1, 1 + len(counts), width_ratios=[1, *counts], squeeze=False)[0]
    _queries(blocks[0], pictures, names)
    for axes, title, each in zip(blocks[1:], titles, found.values(), strict=True):
        _block(axes, gallery, each, tile)
        axes.set_title(title, fontsize=LABEL)
    return figure


def _wrapped(title: str, width: float) -> str:
    """Break a title's lines so that each is no wider than its block, in inches."""
    return "\n".join(fill(line, max(8, round(width / _LETTER))) for line in title.splitlines())


def _breaks(text: str) -> int:
    return text.count("\n")


def _title(name: str, found: Found) -> str:
    precision, k = found.precision, found.indices.shape[1]
    return name if math.isnan(precision) else f"{name}\nprecision at {k}: {precision:.1f} %"


def _queries(axes: Axes, pictures: Sequence[Tensor], names: Sequence[str]) -> None:
    _tiles(axes, [[pixels(picture)] for picture in pictures])
    axes.set_title("query", fontsize=LABEL)
    axes.set_yticks([row + 0.5 for row in range(len(names))], names, fontsize=SMALL)
    axes.tick_params(axis="y", length=0)


def _block(axes: Axes, gallery: Pictures, found: Found, tile: float) -> None:
    rows = [[pixels(picture) for picture in gallery.batch(indices)] for indices in found.indices]
    known, related = found.labelled.tolist(), found.related.tolist()
    frames = [[_verdict(each, judged) for each in row] for row, judged in zip(related, known, strict=True)]
    _tiles(axes, rows, frames)
    for verdict, marker in (("right", _TICK), ("wrong", "x")):
        places = [(x, y) for y, row in enumerate(frames) for x, frame in enumerate(row) if frame == verdict]
        look: dict[str, Any] = {"marker": marker, "markersize": 10 * tile, "markeredgewidth": 3.6 * tile}
        _marks(axes, places, gid=verdict, color=COLOURS[verdict], **look)


def _verdict(related: bool, known: bool) -> str:
    return "" if not known else "right" if related else "wrong"


def _marks(axes: Axes, places: Sequence[tuple[int, int]], markersize: float, **look: Any) -> None:
    """Put a mark on a white disc into the lower right corner of tiles."""
    x, y = [x + 0.8 for x, _ in places], [y + 0.8 for _, y in places]
    axes.plot(x, y, "o", color="white", markersize=1.6 * markersize)
    axes.plot(x, y, linestyle="none", fillstyle="none", markersize=markersize, **look)


def _tiles(axes: Axes, rows: Sequence[Sequence[np.ndarray]], frames: Sequence[Sequence[str]] = ()) -> None:
    """Draw pictures [H, W, 3] in rows of tiles one unit wide, with frames in their verdict's colour."""
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            if frames and frames[y][x]:
                _frame(axes, x, y, COLOURS[frames[y][x]])
            near, far = _GAP, 1 - _GAP
            axes.imshow(picture, extent=(x + near, x + far, y + far, y + near), interpolation="nearest")
    picture_axes(axes)
    axes.set_xlim(0, len(rows[0]))
    axes.set_ylim(len(rows), 0)


def _frame(axes: Axes, x: int, y: int, colour: str) -> None:
    near, side = _GAP - _EDGE, 1 - 2 * (_GAP - _EDGE)
    axes.add_patch(Rectangle((x + near, y + near), side, side, color=colour, zorder=-1))
