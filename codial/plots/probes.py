"""Linear probes as bars: what each layer of each configuration knows, and what it gained."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from codial import paper
from codial.evaluate import ProbeReport
from codial.evaluate.task import METRICS
from codial.plots.bars import Bars, draw_bars, number_bars
from codial.plots.style import GREY, LABEL, TITLE, WIDTH, new_figure

_NUMBERED = 4  # configurations, beside which a number still finds room on its bar


def probe_bars(probed: Mapping[str, Sequence[ProbeReport]], title: str = "") -> Figure:
    """Draw a bar for each layer of each configuration, with a whisker of one standard deviation up and down.

    The whisker is over runs where there are several, else over the probe seeds of the one. Marks are the paper's
    numbers for the same system, where it prints some; its data are others.

    Args:
        probed: a report a run by configuration, all of the same layers, as `reports.Group.probed` returns them; the
            untrained network first makes a good baseline.
        title: above the bars.
    """
    metric = next(iter(probed.values()))[0].metric
    bars = [_bars(name, found, marked=metric == "top-1") for name, found in probed.items()]
    figure = _drawn(bars, title)
    (axes,) = figure.axes
    if len(bars) <= _NUMBERED:
        number_bars(axes)
    axes.set_ylim(0, 100)
    axes.set_ylabel(METRICS[metric], fontsize=LABEL)
    return figure


def gain_bars(gains: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> Figure:
    """Draw a bar for each layer of each configuration, with a whisker of one spread where there are several runs.

    Marks are what the paper's numbers for the same system gain over its own random weights.

    Args:
        gains: points of accuracy by configuration and layer, a value a run, as `reports.gains` returns them.
        title: above the bars.
    """
    bars = [Bars(name, values, {}, paper.gained(name.split("/")[0])) for name, values in gains.items()]
    figure = _drawn(bars, title, "+")
    (axes,) = figure.axes
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_ylabel("points of top-1 accuracy", fontsize=LABEL)
    return figure


def _drawn(bars: Sequence[Bars], title: str, sign: str = "") -> Figure:
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    draw_bars(axes, bars, sign)
    axes.set_title(title, fontsize=TITLE)
    return figure


def _bars(name: str, found: Sequence[ProbeReport], marked: bool) -> Bars:
    layers, first = list(found[0].accuracies), found[0]
    seeds = len(first.accuracies[layers[0]])
    within = {layer: first.spread(layer) for layer in layers} if seeds > 1 else {}
    values = {layer: [report.mean(layer) for report in found] for layer in layers}
    return Bars(name, values, within, paper.printed(name.split("/")[0]) if marked else None)
