"""Images selected in maps: their points in each map, the images themselves, and their classes.

All positions are given in inches, so that a redrawn figure keeps its layout and takes a tenth of a second.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from codial.data import Dataset
from codial.evaluate import LayerMap
from codial.plots.embeddings import class_styles, point_size
from codial.plots.style import COLORS, GRAY, LABEL, SMALL, TICKS, curve_axes, image_axes, new_figure, pixels

TitledMap = tuple[str, LayerMap]
COLUMNS, ROWS = 10, 3
MAX_IMAGES = COLUMNS * ROWS  # in a gallery
NEIGHBORS = 10  # of an image
MAX_CLASSES = 8  # in a histogram: those with the most selected images
UNSELECTED = "#C8C8C8"
_WIDTH, _TILE, _SIDE = 8.2, 0.44, 64  # inches, inches, pixels
_GALLERY, _MAP = 1.85, 2.9  # inches high
_HINT: dict[str, Any] = {"color": GRAY, "ha": "center", "va": "center", "size": LABEL}


def selected_maps(maps: Sequence[TitledMap], images: Dataset, selected: Sequence[int]) -> Figure:
    """Draw maps side by side, selected images in their classes' colors and all others gray; below, the gallery.

    Args:
        maps: Titles and maps in a common frame, as from `codial.evaluate.map_aligned`.
        images: The images that were mapped, in the same order.
        selected: Indices into `images`; if empty, every image has the color of its class.
    """
    figure = new_figure(_WIDTH, _MAP + _GALLERY, constrained=False)
    width, height = _WIDTH / len(maps) - 0.1, _MAP - 0.35
    extent_x, extent_y = map_extent([layer_map for _, layer_map in maps])
    unit = max(extent_x / width, extent_y / height)
    for index, (title, layer_map) in enumerate(maps):
        axes = _add_axes(figure, index * (width + 0.1) + 0.05, _GALLERY + 0.05, width, height)
        _draw_points(axes, layer_map, images, selected)
        axes.set_title(title, fontsize=LABEL)
        axes.set(xlim=(-width * unit, width * unit), ylim=(-height * unit, height * unit))
    _draw_gallery(figure, images, selected)
    return figure


def map_extent(maps: Iterable[LayerMap]) -> tuple[float, float]:
    """Return the largest |x| and |y| of all of the maps' points, plus a margin of 6 %."""
    largest = torch.stack([layer_map.points.abs().amax(0) for layer_map in maps]).amax(0)
    x, y = (1.06 * largest).clamp_min(1e-6).tolist()
    return x, y


def gallery(images: Dataset, selected: Sequence[int]) -> Figure:
    """Draw up to `MAX_IMAGES` of the selected images, evenly spaced, and a histogram of their classes."""
    figure = new_figure(_WIDTH, _GALLERY, constrained=False)
    _draw_gallery(figure, images, selected)
    return figure


def neighbors_of(number: int | None, maps: Sequence[TitledMap], images: Dataset) -> Figure:
    """Draw an image, and for each map its `NEIGHBORS` nearest images in feature space with their cosine similarities.

    A tick or a cross marks whether a neighbor has the image's label, if both have one. If `number` is None, a figure of
    the same size holds a hint.
    """
    row_height = _TILE + 0.42
    figure = new_figure(_WIDTH, row_height * len(maps) + 0.05, constrained=False)
    if number is None:
        figure.text(0.5, 0.5, "click a point to see its image and its neighbors in feature space", **_HINT)
        return figure
    for index, (title, layer_map) in enumerate(maps):
        _draw_neighbors(figure, row_height * (len(maps) - index - 1) + 0.2, number, title, layer_map, images)
    return figure


def _draw_neighbors(
    figure: Figure, bottom: float, number: int, title: str, layer_map: LayerMap, images: Dataset
) -> None:
    first = _draw_tiles(figure, 0.1, bottom, images, [number], 1, 1)
    first.set_title(f"image {number}", fontsize=SMALL, loc="left", pad=3)
    indices = layer_map.nearest[number, :NEIGHBORS]
    axes = _draw_tiles(figure, 1.0, bottom, images, indices.tolist(), NEIGHBORS, 1, gap=0.24)
    name = ", ".join(filter(None, (title, layer_map.collapse)))
    axes.set_title(f"nearest by {name}", fontsize=SMALL, loc="left", pad=3)
    label, cosines = images.labels[number], layer_map.similarity[number, :NEIGHBORS].tolist()
    for column, (other, cosine) in enumerate(zip(images.labels[indices], cosines, strict=True)):
        outcome = "" if min(label, other) < 0 else "right" if label == other else "wrong"
        color = COLORS.get(outcome, "black")
        text = f"{TICKS[outcome]}{cosine:.2f}"
        axes.text(column + 0.5, 1.04, text, size=SMALL, color=color, ha="center", va="top")


def _draw_points(axes: Axes, layer_map: LayerMap, images: Dataset, selected: Sequence[int]) -> None:
    labels = images.labels.cpu()
    is_selected = torch.zeros(len(images), dtype=torch.bool)
    is_selected[list(selected)] = True
    colored = is_selected if len(selected) else ~is_selected
    size = point_size(len(labels))
    x, y = layer_map.points[~colored].T
    axes.scatter(x, y, s=size, c=UNSELECTED, marker="o", linewidths=0, gid="unselected")
    unlabeled = (GRAY if len(selected) == 0 else "black", ".")
    styles = {-1: unlabeled, **dict(enumerate(class_styles(len(images.classes))))}
    for label in labels[colored].unique().tolist():
        x, y = layer_map.points[colored & (labels == label)].T
        color, marker = styles[label]
        axes.scatter(x, y, s=1.5 * size, c=color, marker=marker, linewidths=0, gid="colored")
    image_axes(axes)
    axes.spines[:].set(visible=True, color=UNSELECTED)


def _draw_gallery(figure: Figure, images: Dataset, selected: Sequence[int]) -> None:
    steps = np.linspace(0, len(selected) - 1, min(MAX_IMAGES, len(selected)))
    visible = [selected[i] for i in np.unique(steps.round().astype(int))]
    axes = _draw_tiles(figure, 0.1, 0.15, images, visible, COLUMNS, ROWS)
    part = f", {len(visible)} of them below" if len(visible) < len(selected) else ""
    axes.set_title(f"{len(selected)} of {len(images)} images selected{part}", fontsize=LABEL, loc="left", pad=4)
    if not visible:
        axes.text(COLUMNS / 2, ROWS / 2, "no image is selected", **_HINT)
    _draw_histogram(_add_axes(figure, 5.8, 0.15, 1.3, ROWS * _TILE), images, selected)


def _draw_histogram(axes: Axes, images: Dataset, selected: Sequence[int]) -> None:
    """Draw a bar per class: its selected images over all of its images."""
    image_axes(axes)
    if not bool((images.labels >= 0).any()):
        axes.text(0.5, 0.5, "no labels", **_HINT)
        return
    totals = _class_counts(images, images.labels)
    counts = _class_counts(images, images.labels[torch.as_tensor(list(selected), dtype=torch.int64)])
    classes = sorted(counts.argsort(descending=True, stable=True)[:MAX_CLASSES].tolist())
    rows = range(len(classes))
    styles = class_styles(len(images.classes))
    axes.barh(rows, totals[classes].tolist(), 0.8, color="#E8E8E8", gid="all")
    axes.barh(rows, counts[classes].tolist(), 0.8, color=[styles[k][0] for k in classes], gid="selected")
    for row, k in enumerate(classes):
        axes.text(float(totals[classes].max()) * 1.04, row, f"{counts[k]} of {totals[k]}", size=SMALL, va="center")
    curve_axes(axes).grid(False)
    axes.spines[:].set_visible(False)
    axes.set_yticks(rows, [_shorten(images.classes[k]) for k in classes], fontsize=SMALL)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_ylim(max(MAX_CLASSES, len(classes)) - 0.5, -0.5)
    top = "" if len(images.classes) <= MAX_CLASSES else f", top {MAX_CLASSES}"
    axes.set_title(f"by class{top}", fontsize=LABEL, loc="left", pad=4)


def _class_counts(images: Dataset, labels: Tensor) -> Tensor:
    return torch.bincount(labels[labels >= 0].cpu(), minlength=len(images.classes))


def _shorten(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _draw_tiles(
    figure: Figure, left: float, bottom: float, images: Dataset, indices: Sequence[int], columns: int, rows: int,
    gap: float = 0.0,
) -> Axes:  # fmt: skip
    """Draw images in rows of tiles of one axes unit each, with `gap` inches between columns."""
    width = _TILE + gap
    axes = _add_axes(figure, left, bottom, columns * width, rows * _TILE)
    image_axes(axes)
    pad, edge = gap / 2 / width, 0.02
    for index, tile in enumerate(_thumbnails(images, indices)):
        row, column = divmod(index, columns)
        extent = (column + pad + edge, column + 1 - pad - edge, row + 1 - edge, row + edge)
        axes.imshow(tile, extent=extent, interpolation="nearest")
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="auto")
    return axes


def _thumbnails(images: Dataset, indices: Sequence[int]) -> list[np.ndarray]:
    """Return images [h, w, 3] uint8, downscaled if they are much larger than a tile."""
    if not indices:
        return []
    batch = images.batch(list(indices))
    if max(batch.shape[-2:]) > 2 * _SIDE:
        batch = interpolate(batch.float(), size=(_SIDE, _SIDE), mode="area").round().byte()
    return [pixels(image) for image in batch]


def _add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a position in inches."""
    figure_width, figure_height = figure.get_figwidth(), figure.get_figheight()
    return figure.add_axes((left / figure_width, bottom / figure_height, width / figure_width, height / figure_height))
