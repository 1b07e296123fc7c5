"""Maps of features in the plane: a panel for each layer of each run, a point for each picture."""

from collections.abc import Mapping

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from codial.data import Pictures
from codial.evaluate import LayerMap
from codial.plots.style import GREY, LABEL, PALETTE, SMALL, new_figure, picture_axes

PANEL = 1.7  # inches
_MARKERS = ("o", "^", "s", "D", "v")
MOST = len(PALETTE) * len(_MARKERS)  # classes that can be told apart


def feature_maps(maps: Mapping[str, Mapping[str, LayerMap]], images: Pictures) -> Figure:
    """Draw maps as a grid: a row for each run, a column for each layer, points coloured by class.

    Each title tells the map's trustworthiness. Axes have no scale, since a map's distances have no unit.

    Args:
        maps: by run, then by layer; every run needs the same layers.
        images: the pictures that were mapped, in the same order.
    """
    layers = list(next(iter(maps.values())))
    figure = new_figure(max(PANEL * len(layers), 4), (PANEL + 0.45) * len(maps) + 0.5)
    grid = figure.subplots(len(maps), len(layers), squeeze=False)
    for row, (name, of_run) in zip(grid, maps.items(), strict=True):
        for axes, layer in zip(row, layers, strict=True):
            _panel(axes, of_run[layer], layer, images)
        row[0].set_ylabel(name, fontsize=LABEL)
    _legend(figure, images)
    return figure


def class_looks(count: int) -> list[tuple[str, str]]:
    """Return a colour and a marker for each class, neighbours differing in both; past `MOST` they come again."""
    turns = (divmod(i, len(PALETTE)) for i in range(count))
    return [(PALETTE[place], _MARKERS[(place + turn) % len(_MARKERS)]) for turn, place in turns]


def _panel(axes: Axes, found: LayerMap, layer: str, images: Pictures) -> None:
    labels = images.labels.cpu()
    looks = {-1: (GREY, "."), **dict(enumerate(class_looks(len(images.classes))))}
    size = min(14, 6000 / max(1, len(labels)))  # fewer pictures, larger points
    for label in torch.unique(labels).tolist():
        x, y = found.points[labels == label].T
        colour, marker = looks[label]
        axes.scatter(x, y, s=size, c=colour, marker=marker, linewidths=0, alpha=0.7)
    picture_axes(axes)
    axes.set_aspect("equal", "datalim")
    axes.set_title(f"{layer}\ntrustworthiness {found.trustworthiness:.2f}", fontsize=SMALL)


def _legend(figure: Figure, images: Pictures) -> None:
    if not 1 <= len(images.classes) <= MOST:
        return
    looks = zip(images.classes, class_looks(len(images.classes)), strict=True)
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", markersize=5, label=name) for name, (c, m) in looks]
    entry = 0.45 + 0.08 * max(map(len, images.classes))  # inches, the widest
    columns = max(1, min(len(handles), int(figure.get_figwidth() / entry)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False)
