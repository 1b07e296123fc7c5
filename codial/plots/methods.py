"""Methods side by side: the inputs they compute from an image, and their accuracy by layer."""

from collections.abc import Mapping
from itertools import cycle
from statistics import mean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from codial.plots.style import LABEL, SMALL, TITLE, new_figure, run_colors, show_image, subplots
from codial.plots.tooltips import set_tooltips
from codial.plots.transforms import NAMES
from codial.results import paper
from codial.results.aggregate import RunGroup
from codial.results.comparison import ComparisonTable, mean_and_std

_MARKERS = "os^DvPXd<>"  # redundant to color, for readers with a color vision deficiency


def method_input_rows(inputs: Mapping[str, Mapping[str, Tensor]], index: int = 0) -> Figure:
    """Draw the inputs that methods compute from one image, one row per method.

    Args:
        inputs: By method, images [B, 3, S, S] by name, as `codial.evaluate.method_inputs` returns them.
        index: Index of the image in the batch.
    """
    columns = max(map(len, inputs.values()))
    figure = new_figure(1.35 * columns, 1.55 * len(inputs))
    grid = figure.subplots(len(inputs), columns, squeeze=False)
    for row, (method, images) in zip(grid, inputs.items(), strict=True):
        for axes, (name, batch) in zip(row, images.items(), strict=False):
            show_image(axes, batch[index], NAMES.get(name, name))
        row[0].set_ylabel(method, fontsize=LABEL)
        for axes in row[len(images) :]:
            axes.set_axis_off()
    return figure


def layer_curves(comparison: ComparisonTable, title: str = "") -> Figure:
    """Draw each method's accuracy by layer as mean ± std over runs, and the paper's numbers in panels of their own.

    The paper's panels use the same colors and markers. They are for STL-10 and ImageNet: other data, wider networks
    and longer training. A panel without any of these methods is left out.
    """
    groups = comparison.groups
    layers = comparison.layers
    reported = {printed[0] for group in groups if (printed := paper.printed_accuracies(group.method))}
    datasets = [name for name in ("STL-10", "ImageNet") if name in reported]
    figure, grid = subplots(8.6, 4, 1, 1 + len(datasets))
    ours, *paper_panels = grid[0]
    colors = run_colors([group.name for group in groups])
    for group, color, marker in zip(groups, colors, cycle(_MARKERS), strict=False):
        style = {"color": color, "marker": marker, "markersize": 5}
        by_layer = {layer: comparison.accuracies(group, layer) for layer in layers}
        _draw_ours(ours, group, {layer: values for layer, values in by_layer.items() if values}, style)
        for panel, dataset in zip(paper_panels, datasets, strict=True):
            _draw_paper(panel, group.method, dataset, layers, style)
    for panel, text in zip(grid[0], [title, *(f"the paper, {name}" for name in datasets)], strict=True):
        panel.set_title(text, fontsize=TITLE)
    figure.legend(fontsize=SMALL, frameon=False, loc="outside lower center", ncols=4, handles=ours.containers)
    ours.set_ylabel("top-1 accuracy (%)", fontsize=LABEL)
    return figure


def _draw_ours(axes: Axes, group: RunGroup, values: dict[str, list[float]], style: dict[str, Any]) -> None:
    """Draw a group's accuracies by layer, of the layers that its backbone has."""
    stds = [stdev(each) for each in values.values()] if len(group.runs) > 1 else None
    means = [mean(each) for each in values.values()]
    line = axes.errorbar(list(values), means, stds, **style, capsize=2, label=group.name).lines[0]
    texts = [f"{group.name}, {layer}: {mean_and_std(each)} %" for layer, each in values.items()]
    set_tooltips(line, *texts)


def _draw_paper(axes: Axes, method: str, dataset: str, layers: list[str], style: dict[str, Any]) -> None:
    """Draw the paper's numbers for a method, if it reports any for the data set."""
    reported = paper.printed_accuracies(method)
    if reported is None or reported[0] != dataset:
        return
    numbers = {layer: value for layer in layers if (value := reported[1].get(layer)) is not None}
    (line,) = axes.plot(list(numbers), list(numbers.values()), **style, markerfacecolor="white", label=method)
    set_tooltips(line, *(f"the paper, {method}, {layer}: {value} %" for layer, value in numbers.items()))
