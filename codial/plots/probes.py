"""Bar charts of linear probes: accuracy by layer, and gain over random weights."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from codial.evaluate import ProbeReport
from codial.evaluate.probes.targets import METRICS
from codial.plots.bars import Bars, draw_bars, label_bars
from codial.plots.style import GRAY, LABEL, TITLE, WIDTH, new_figure
from codial.results import paper

_MAX_LABELED = 4  # configurations; with more, bars are too narrow for their numbers


def probe_bars(probed: Mapping[str, Sequence[ProbeReport]], title: str = "") -> Figure:
    """Draw one bar per layer and configuration, the mean over runs, with error bars of ± one std.

    The std is over runs if there are several, otherwise over the probe seeds of the only run. Markers are the paper's
    numbers for the same method, where it reports any; they were measured on other data.

    Args:
        probed: By configuration, one report per run, as
            `codial.results.aggregate.probe_reports` returns them; the untrained network first makes a good baseline.
        title: Text above the bars.
    """
    metric = next(iter(probed.values()))[0].metric
    bars = [_bars(name, reports, with_paper=metric == "top-1") for name, reports in probed.items()]
    figure = _bar_figure(bars, title)
    (axes,) = figure.axes
    if len(bars) <= _MAX_LABELED:
        label_bars(axes)
    axes.set_ylim(0, 100)
    axes.set_ylabel(METRICS[metric], fontsize=LABEL)
    return figure


def gain_bars(gains: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> Figure:
    """Draw one bar per layer and configuration, with error bars of ± one std over runs if there are several.

    Markers are the gains of the same method over random weights in the paper.

    Args:
        gains: Percentage points, one per run, by configuration and layer, as
            `codial.results.aggregate.gains_over_random` returns them.
        title: Text above the bars.
    """
    bars = [Bars(name, values, {}, paper.printed_gains(name.split("/")[0])) for name, values in gains.items()]
    figure = _bar_figure(bars, title, "+")
    (axes,) = figure.axes
    axes.axhline(0, color=GRAY, linewidth=1)
    axes.set_ylabel("gain in top-1 accuracy (percentage points)", fontsize=LABEL)
    return figure


def _bar_figure(bars: Sequence[Bars], title: str, sign: str = "") -> Figure:
    figure = new_figure(WIDTH, 4.4)
    axes = figure.subplots()
    draw_bars(axes, bars, sign)
    axes.set_title(title, fontsize=TITLE)
    return figure


def _bars(name: str, reports: Sequence[ProbeReport], with_paper: bool) -> Bars:
    first = reports[0]
    layers = list(first.accuracies)
    seeds = len(first.accuracies[layers[0]])
    probe_std = {layer: first.std(layer) for layer in layers} if seeds > 1 else {}
    values = {layer: [report.mean(layer) for report in reports] for layer in layers}
    return Bars(name, values, probe_std, paper.printed_accuracies(name.split("/")[0]) if with_paper else None)
