"""Scatter plots of embeddings in the plane: one panel per layer of each run, one point per image."""

from collections.abc import Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from codial.data import Dataset
from codial.evaluate import LayerMap
from codial.plots.style import GRAY, LABEL, PALETTE, SMALL, image_axes, new_figure

PANEL = 1.7  # inches
_MARKERS = ("o", "^", "s", "D", "v")
MAX_CLASSES = len(PALETTE) * len(_MARKERS)  # classes with distinct combinations of color and marker


def feature_maps(maps: Mapping[str, Mapping[str, LayerMap]], images: Dataset) -> Figure:
    """Draw maps in a grid, one row per run and one column per layer, with points colored by class.

    Each title gives the map's trustworthiness, and says if the features are collapsed. Axes have no scale, since
    distances in a map have no unit.

    Args:
        maps: Maps by run, then by layer; the last layers of all runs stand in the last column.
        images: The images that were mapped, in the same order.
    """
    columns = max(len(of_run) for of_run in maps.values())
    figure = new_figure(max(PANEL * columns, 4), (PANEL + 0.45) * len(maps) + 0.5)
    grid = figure.subplots(len(maps), columns, squeeze=False)
    for row, (name, of_run) in zip(grid, maps.items(), strict=True):
        missing = columns - len(of_run)
        for axes in row[:missing]:
            axes.set_axis_off()
        for axes, (layer, layer_map) in zip(row[missing:], of_run.items(), strict=True):
            _draw_panel(axes, layer_map, layer, images)
        row[missing].set_ylabel(name, fontsize=LABEL)
    _draw_legend(figure, images)
    return figure


def class_styles(count: int) -> list[tuple[str, str]]:
    """Return a color and a marker for each class; adjacent classes differ in both, and `MAX_CLASSES` are distinct."""
    cycles = (divmod(i, len(PALETTE)) for i in range(count))
    return [(PALETTE[index], _MARKERS[(index + cycle) % len(_MARKERS)]) for cycle, index in cycles]


def point_size(count: int) -> float:
    """Return the area of each of `count` points, in square points: fewer images get larger points."""
    return min(14, 6000 / max(1, count))


def _draw_panel(axes: Axes, layer_map: LayerMap, layer: str, images: Dataset) -> None:
    labels = images.labels.cpu()
    styles = {-1: (GRAY, "."), **dict(enumerate(class_styles(len(images.classes))))}
    for label in torch.unique(labels).tolist():
        x, y = layer_map.points[labels == label].T
        color, marker = styles[label]
        axes.scatter(x, y, s=point_size(len(labels)), c=color, marker=marker, linewidths=0, alpha=0.7)
    image_axes(axes)
    axes.set_aspect("equal", "datalim")
    lines = (layer, f"trustworthiness {layer_map.trustworthiness:.2f}", layer_map.collapse)
    axes.set_title("\n".join(filter(None, lines)), fontsize=SMALL)


def _draw_legend(figure: Figure, images: Dataset) -> None:
    if not 1 <= len(images.classes) <= MAX_CLASSES:
        return
    styles = zip(images.classes, class_styles(len(images.classes)), strict=True)
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", markersize=5, label=name) for name, (c, m) in styles]
    entry = 0.45 + 0.08 * max(map(len, images.classes))  # inches, of the widest
    columns = max(1, min(len(handles), int(figure.get_figwidth() / entry)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False)
