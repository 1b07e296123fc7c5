"""Pictures chosen in maps: where they lie in each, what they show, and of which classes they are.

Every place is given in inches, so that a figure drawn anew jumps nowhere, and takes a tenth of a second.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from codial.data import Pictures
from codial.evaluate import LayerMap
from codial.plots.maps import class_looks
from codial.plots.style import COLOURS, GREY, LABEL, SMALL, TICKS, curve_axes, new_figure, picture_axes, pixels

Titled = tuple[str, LayerMap]
COLUMNS, ROWS = 10, 3
MOST = COLUMNS * ROWS  # pictures in a gallery
NEAR = 10  # neighbours of a picture
CLASSES = 8  # in a histogram; those with the most chosen pictures
REST = "#C8C8C8"  # of pictures that are not chosen
_WIDTH, _TILE, _SIDE = 8.2, 0.44, 64  # inches, inches, pixels
_GALLERY, _MAP = 1.85, 2.9  # inches high
_HINT: dict[str, Any] = {"color": GREY, "ha": "center", "va": "center", "size": LABEL}


def chosen_maps(maps: Sequence[Titled], images: Pictures, chosen: Sequence[int]) -> Figure:
    """Draw maps side by side, the chosen pictures in their classes' colours and all others grey; below, the gallery.

    Args:
        maps: titles and maps, of one frame: `codial.evaluate.map_aligned` makes such.
        images: the pictures that were mapped, in the same order.
        chosen: places in `images`; while there are none, every picture has its class's colour.
    """
    figure = new_figure(_WIDTH, _MAP + _GALLERY, own_layout=False)
    wide, high = _WIDTH / len(maps) - 0.1, _MAP - 0.35
    across, up = reach([each for _, each in maps])
    unit = max(across / wide, up / high)
    for place, (title, each) in enumerate(maps):
        axes = _axes(figure, place * (wide + 0.1) + 0.05, _GALLERY + 0.05, wide, high)
        _points(axes, each, images, chosen)
        axes.set_title(title, fontsize=LABEL)
        axes.set(xlim=(-wide * unit, wide * unit), ylim=(-high * unit, high * unit))
    _draw_gallery(figure, images, chosen)
    return figure


def reach(maps: Iterable[LayerMap]) -> tuple[float, float]:
    """Return how far from (0, 0) a frame has to reach, across and up, to show all of the maps' points."""
    most = torch.stack([each.points.abs().amax(0) for each in maps]).amax(0)
    across, up = (1.06 * most).clamp_min(1e-6).tolist()
    return across, up


def gallery(images: Pictures, chosen: Sequence[int]) -> Figure:
    """Draw up to `MOST` of the chosen pictures, evenly spread, and how many there are of each class."""
    figure = new_figure(_WIDTH, _GALLERY, own_layout=False)
    _draw_gallery(figure, images, chosen)
    return figure


def neighbours_of(number: int | None, maps: Sequence[Titled], images: Pictures) -> Figure:
    """Draw a picture, and for each map its `NEAR` nearest pictures in feature space, with their cosines.

    A tick or a cross tells whether a neighbour has the picture's label, where both have one. Without a number, the
    figure is as large, and tells how to get one.
    """
    row = _TILE + 0.42
    figure = new_figure(_WIDTH, row * len(maps) + 0.05, own_layout=False)
    if number is None:
        figure.text(0.5, 0.5, "click a point to see its picture, and its neighbours in feature space", **_HINT)
        return figure
    label = images.labels[number]
    for place, (title, each) in enumerate(maps):
        bottom = row * (len(maps) - place - 1) + 0.2
        first = _tiles(figure, 0.1, bottom, images, [number], 1, 1)
        first.set_title(f"picture {number}", fontsize=SMALL, loc="left", pad=3)
        near, cosines = each.nearest[number, :NEAR], each.similarity[number, :NEAR]
        axes = _tiles(figure, 1.0, bottom, images, near.tolist(), NEAR, 1, gap=0.24)
        axes.set_title(f"nearest by {title}", fontsize=SMALL, loc="left", pad=3)
        for column, (other, cosine) in enumerate(zip(images.labels[near], cosines.tolist(), strict=True)):
            verdict = "" if min(label, other) < 0 else "right" if label == other else "wrong"
            mark = TICKS[verdict]
            colour = COLOURS.get(verdict, "black")
            axes.text(column + 0.5, 1.04, f"{mark}{cosine:.2f}", size=SMALL, color=colour, ha="center", va="top")
    return figure


def _points(axes: Axes, found: LayerMap, images: Pictures, chosen: Sequence[int]) -> None:
    labels, is_chosen = images.labels.cpu(), torch.zeros(len(images), dtype=torch.bool)
    is_chosen[list(chosen)] = True
    coloured = is_chosen if len(chosen) else ~is_chosen
    size = min(14, 6000 / max(1, len(labels)))  # fewer pictures, larger points
    x, y = found.points[~coloured].T
    axes.scatter(x, y, s=size, c=REST, marker="o", linewidths=0, gid="rest")
    looks = {-1: (GREY if len(chosen) == 0 else "black", "."), **dict(enumerate(class_looks(len(images.classes))))}
    for label in labels[coloured].unique().tolist():
        x, y = found.points[coloured & (labels == label)].T
        colour, marker = looks[label]
        axes.scatter(x, y, s=1.5 * size, c=colour, marker=marker, linewidths=0, gid="coloured")
    picture_axes(axes)
    axes.spines[:].set(visible=True, color=REST)


def _draw_gallery(figure: Figure, images: Pictures, chosen: Sequence[int]) -> None:
    shown = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, min(MOST, len(chosen))).round().astype(int))]
    axes = _tiles(figure, 0.1, 0.15, images, shown, COLUMNS, ROWS)
    part = f", {len(shown)} of them below" if len(shown) < len(chosen) else ""
    axes.set_title(f"{len(chosen)} of {len(images)} pictures chosen{part}", fontsize=LABEL, loc="left", pad=4)
    if not shown:
        axes.text(COLUMNS / 2, ROWS / 2, "nothing is chosen", **_HINT)
    _histogram(_axes(figure, 5.8, 0.15, 1.3, ROWS * _TILE), images, chosen)


def _histogram(axes: Axes, images: Pictures, chosen: Sequence[int]) -> None:
    """Draw a bar for each class: how many of its pictures are chosen, over how many there are."""
    picture_axes(axes)
    if not bool((images.labels >= 0).any()):
        axes.text(0.5, 0.5, "no labels", **_HINT)
        return
    count = len(images.classes)
    every, taken = (torch.bincount(x[x >= 0].cpu(), minlength=count) for x in (images.labels, _labels(images, chosen)))
    kept = sorted(taken.argsort(descending=True, stable=True)[:CLASSES].tolist())
    looks, rows = class_looks(count), range(len(kept))
    axes.barh(rows, every[kept].tolist(), 0.8, color="#E8E8E8", gid="all")
    axes.barh(rows, taken[kept].tolist(), 0.8, color=[looks[k][0] for k in kept], gid="chosen")
    for row, k in enumerate(kept):
        axes.text(float(every[kept].max()) * 1.04, row, f"{taken[k]} of {every[k]}", size=SMALL, va="center")
    curve_axes(axes).grid(False)
    axes.spines[:].set_visible(False)
    axes.set_yticks(rows, [_short(images.classes[k]) for k in kept], fontsize=SMALL)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_ylim(max(CLASSES, len(kept)) - 0.5, -0.5)
    more = "" if count <= CLASSES else f", the {CLASSES} with most"
    axes.set_title(f"by class{more}", fontsize=LABEL, loc="left", pad=4)


def _labels(images: Pictures, chosen: Sequence[int]) -> torch.Tensor:
    return images.labels[torch.as_tensor(list(chosen), dtype=torch.int64)]


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _tiles(
    figure: Figure, left: float, bottom: float, images: Pictures, shown: Sequence[int], columns: int, rows: int,
    gap: float = 0.0,
) -> Axes:  # fmt: skip
    """Put pictures into rows of tiles, each of which is a unit of the axes; `gap` inches are between columns."""
    wide = _TILE + gap
    axes = _axes(figure, left, bottom, columns * wide, rows * _TILE)
    picture_axes(axes)
    pad, edge = gap / 2 / wide, 0.02
    for place, tile in enumerate(_small(images, shown)):
        row, column = divmod(place, columns)
        sides = (column + pad + edge, column + 1 - pad - edge, row + 1 - edge, row + edge)
        axes.imshow(tile, extent=sides, interpolation="nearest")
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="auto")
    return axes


def _small(images: Pictures, shown: Sequence[int]) -> list[np.ndarray]:
    """Return pictures [h, w, 3] uint8, made smaller where they are larger than a tile."""
    if not shown:
        return []
    batch = images.batch(list(shown))
    if max(batch.shape[-2:]) > 2 * _SIDE:
        batch = interpolate(batch.float(), size=(_SIDE, _SIDE), mode="area").round().byte()
    return [pixels(picture) for picture in batch]


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches."""
    across, up = figure.get_figwidth(), figure.get_figheight()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))
