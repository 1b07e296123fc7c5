"""Query images beside their nearest neighbors, as the paper's Figure 4."""

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

from codial.data import Dataset
from codial.evaluate import RetrievalResult
from codial.plots.style import COLORS, LABEL, SMALL, WIDTH, image_axes, new_figure, pixels

MAX_TILE, MIN_TILE = 0.5, 0.3  # inches
_FRAME, _GAP = 0.05, 0.09  # widths relative to a tile: its frame, and the white around its image
_LINE_HEIGHT, _CHAR_WIDTH = 0.17, 0.083  # inches, of a title
_TICK = Path([(-0.9, -0.1), (-0.3, -0.8), (0.9, 0.9)])


def neighbor_rows(
    queries: Dataset, gallery: Dataset, results: Mapping[str, RetrievalResult], rows: Sequence[int]
) -> Figure:
    """Draw some queries, one per row, beside their neighbors by every method, nearest first.

    A neighbor with the query's label has a green frame and a tick, any other a red frame and a cross. The title of each
    block gives the precision over all queries, not only those drawn, and says if the features are collapsed. Unlabeled
    queries have no marks.

    Args:
        queries: The query images.
        gallery: The images that were searched.
        results: Neighbors of every query by method, such as random, supervised and codial.
        rows: Indices of the queries to draw.
    """
    names = [queries.classes[queries.labels[i]] if queries.labels[i] >= 0 else "" for i in rows]
    titled = {_title(name, result): result.subset(rows) for name, result in results.items()}
    return query_rows(list(queries.batch(rows)), names, gallery, titled)


def query_rows(
    images: Sequence[Tensor], names: Sequence[str], gallery: Dataset, results: Mapping[str, RetrievalResult]
) -> Figure:
    """Draw queries of any source, as `neighbor_rows` does.

    Args:
        images: The queries, each [3, H, W] uint8.
        names: Text beside each query, or "".
        gallery: The images that were searched.
        results: Neighbors of these queries by the title of their block.
    """
    counts = [result.indices.shape[1] for result in results.values()]
    columns = 1.6 + sum(counts) + 0.6 * len(counts)  # tiles, with the space between blocks
    tile = min(MAX_TILE, max(MIN_TILE, WIDTH / columns))
    titles = [_wrap(title, tile * count) for title, count in zip(results, counts, strict=True)]
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    figure = new_figure(tile * columns, tile * len(images) + 0.46 + _LINE_HEIGHT * lines)
    figure.set_layout_engine("compressed")  # for axes of a fixed aspect
    blocks = figure.subplots(1, 1 + len(counts), width_ratios=[1, *counts], squeeze=False)[0]
    _draw_queries(blocks[0], images, names)
    for axes, title, result in zip(blocks[1:], titles, results.values(), strict=True):
        _draw_block(axes, gallery, result, tile)
        axes.set_title(title, fontsize=LABEL)
    return figure


def _wrap(title: str, width: float) -> str:
    """Break a title's lines so that none is wider than its block, in inches."""
    return "\n".join(fill(line, max(8, round(width / _CHAR_WIDTH))) for line in title.splitlines())


def _title(name: str, result: RetrievalResult) -> str:
    precision, k = result.precision, result.indices.shape[1]
    number = "" if math.isnan(precision) else f"precision at {k}: {precision:.1f} %"
    return "\n".join(filter(None, (name, number, result.collapse)))


def _draw_queries(axes: Axes, images: Sequence[Tensor], names: Sequence[str]) -> None:
    _draw_tiles(axes, [[pixels(image)] for image in images])
    axes.set_title("query", fontsize=LABEL)
    axes.set_yticks([row + 0.5 for row in range(len(names))], names, fontsize=SMALL)
    axes.tick_params(axis="y", length=0)


def _draw_block(axes: Axes, gallery: Dataset, result: RetrievalResult, tile: float) -> None:
    rows = [[pixels(image) for image in gallery.batch(indices)] for indices in result.indices]
    pairs = zip(result.relevant.tolist(), result.labeled.tolist(), strict=True)
    frames = [[_outcome(each, labeled) for each in row] for row, labeled in pairs]
    _draw_tiles(axes, rows, frames)
    for outcome, marker in (("right", _TICK), ("wrong", "x")):
        cells = [(x, y) for y, row in enumerate(frames) for x, frame in enumerate(row) if frame == outcome]
        style: dict[str, Any] = {"marker": marker, "markersize": 10 * tile, "markeredgewidth": 3.6 * tile}
        _draw_marks(axes, cells, gid=outcome, color=COLORS[outcome], **style)


def _outcome(relevant: bool, labeled: bool) -> str:
    return "" if not labeled else "right" if relevant else "wrong"


def _draw_marks(axes: Axes, cells: Sequence[tuple[int, int]], markersize: float, **style: Any) -> None:
    """Draw a mark on a white disc in the lower right corner of tiles."""
    x = [column + 0.8 for column, _ in cells]
    y = [row + 0.8 for _, row in cells]
    axes.plot(x, y, "o", color="white", markersize=1.6 * markersize)
    axes.plot(x, y, linestyle="none", fillstyle="none", markersize=markersize, **style)


def _draw_tiles(axes: Axes, rows: Sequence[Sequence[np.ndarray]], frames: Sequence[Sequence[str]] = ()) -> None:
    """Draw images [H, W, 3] in rows of tiles of one unit, with frames in the color of their outcome."""
    near, far = _GAP, 1 - _GAP
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if frames and frames[y][x]:
                _draw_frame(axes, x, y, COLORS[frames[y][x]])
            axes.imshow(image, extent=(x + near, x + far, y + far, y + near), interpolation="nearest")
    image_axes(axes)
    axes.set_xlim(0, len(rows[0]))
    axes.set_ylim(len(rows), 0)


def _draw_frame(axes: Axes, x: int, y: int, color: str) -> None:
    near, side = _GAP - _FRAME, 1 - 2 * (_GAP - _FRAME)
    axes.add_patch(Rectangle((x + near, y + near), side, side, color=color, zorder=-1))
