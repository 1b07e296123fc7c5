"""Systems side by side: what each is shown of a picture, and its layers beside those of the others."""

from collections.abc import Mapping
from itertools import cycle
from statistics import mean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from codial import paper
from codial.plots.hover import tell
from codial.plots.style import LABEL, SMALL, TITLE, new_figure, run_colours, show_picture, subplots
from codial.plots.views import NAMES
from codial.tables import Comparison, Row, spread

_SHAPES = "os^DvPXd<>"  # beside colours, of which not everybody sees as many


def what_they_see(shown: Mapping[str, Mapping[str, Tensor]], place: int = 0) -> Figure:
    """Draw one picture as each system is shown it, a row each.

    Args:
        shown: by system, what `evaluate.looks` returned: pictures [B, 3, S, S] by name.
        place: of the picture in the batch.
    """
    columns = max(map(len, shown.values()))
    figure = new_figure(1.35 * columns, 1.55 * len(shown))
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (system, pictures) in zip(axes, shown.items(), strict=True):
        for cell, (name, picture) in zip(row, pictures.items(), strict=False):
            show_picture(cell, picture[place], NAMES.get(name, name))
        row[0].set_ylabel(system, fontsize=LABEL)
        for cell in row[len(pictures) :]:
            cell.set_axis_off()
    return figure


def layer_curves(comparison: Comparison, title: str = "") -> Figure:
    """Draw each system's accuracy by layer, with one spread over its runs, and beside it the paper's numbers.

    The paper's panels, in the same colours and shapes, are STL-10 and ImageNet: other data, wider networks, longer
    training.
    """
    figure, axes = subplots(8.6, 4, 1, 3)
    ours, *printed = axes[0]
    rows, layers = comparison.rows, list(comparison.report.accuracies)
    for row, colour, shape in zip(rows, run_colours([row.name for row in rows]), cycle(_SHAPES), strict=False):
        look = {"color": colour, "marker": shape, "markersize": 5}
        _ours(ours, row, layers, look)
        found = paper.printed(row.system)
        for panel, where in zip(printed, ("STL-10", "ImageNet"), strict=True):
            if found is not None and found[0] == where:
                numbers = [found[1][layer] for layer in layers]
                (line,) = panel.plot(layers, numbers, **look, markerfacecolor="white", label=row.system)
                tell(
                    line,
                    *(f"the paper, {row.system}, {layer}: {n} %" for layer, n in zip(layers, numbers, strict=True)),
                )
    for panel, told in zip(axes[0], (title, "the paper, STL-10", "the paper, ImageNet"), strict=True):
        panel.set_title(told, fontsize=TITLE)
    figure.legend(fontsize=SMALL, frameon=False, loc="outside lower center", ncols=4, handles=ours.containers)
    ours.set_ylabel("top-1 accuracy in percent", fontsize=LABEL)
    return figure


def _ours(axes: Axes, row: Row, layers: list[str], look: dict[str, Any]) -> None:
    values = [row.layer(layer) for layer in layers]
    spreads = [stdev(each) for each in values] if len(row.judged) > 1 else None
    line = axes.errorbar(layers, [mean(v) for v in values], spreads, **look, capsize=2, label=row.name).lines[0]
    tell(line, *(f"{row.name}, {layer}: {spread(each)} %" for layer, each in zip(layers, values, strict=True)))
