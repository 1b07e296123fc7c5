"""Linear probes as bars: what each layer of each run knows."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codial.evaluate import ProbeReport
from codial.evaluate.task import METRICS
from codial.plots.style import COLOURS, GREY, LABEL, PALETTE, SMALL, TITLE, curve_axes, new_figure, subplots

_WHISKERS = {"elinewidth": 1, "capsize": 2}
GROUP = 0.84  # width of a layer's bars together, of the distance between two layers


def probe_bars(
    reports: Sequence[ProbeReport],
    title: str = "",
    *,
    paper: Mapping[str, Mapping[str, float | None]] | None = None,
    paper_title: str = "",
) -> Figure:
    """Draw a bar for each layer of each run: the mean over probe seeds, with a whisker of one spread up and down.

    Args:
        reports: the runs, all of the same layers; the untrained network first makes a good baseline.
        title: above the bars.
        paper: numbers in percent by system and layer, for a panel of their own beside the bars.
        paper_title: above that panel; say there which data set it is.
    """
    layers = list(reports[0].accuracies)
    panels = [1.6, 1] if paper else [1]
    figure = new_figure((2 + 0.28 * len(layers) * (1 + len(reports))) * sum(panels) / panels[0], 4)
    axes = figure.subplots(1, len(panels), width_ratios=panels, sharey=True, squeeze=False)[0]
    for place, (report, colour) in enumerate(zip(reports, run_colours([r.name for r in reports]), strict=True)):
        _bars(axes[0], report, place, len(reports), colour)
    for (name, numbers), colour in zip((paper or {}).items(), run_colours(list(paper or {})), strict=True):
        _series(axes[1], name, numbers, layers, colour)
    for each, text in zip(axes, (title, paper_title), strict=False):
        _dress(each, layers, text)
    axes[0].set_ylabel(METRICS[reports[0].metric], fontsize=LABEL)
    return figure


def gain_bars(gains: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> Figure:
    """Draw a bar for each layer of each configuration, with a whisker of one spread where there are several runs.

    Args:
        gains: points of accuracy by configuration and layer, a value a run, as `reports.gains` returns them.
        title: above the bars.
    """
    layers = list(next(iter(gains.values())))
    figure, grid = subplots(2 + 0.22 * len(layers) * (1 + len(gains)), 4)
    axes, bar = grid[0, 0], GROUP / len(gains)
    for place, ((name, values), colour) in enumerate(zip(gains.items(), run_colours(list(gains)), strict=True)):
        centres = [index + GROUP * ((place + 0.5) / len(gains) - 0.5) for index in range(len(layers))]
        spreads = [stdev(values[layer]) for layer in layers] if len(values[layers[0]]) > 1 else None
        heights = [mean(values[layer]) for layer in layers]
        axes.bar(centres, heights, 0.94 * bar, yerr=spreads, color=colour, label=name, error_kw=_WHISKERS, zorder=2)
    _dress(axes, layers, title)
    axes.autoscale(axis="y")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_ylabel("points of top-1 accuracy", fontsize=LABEL)
    return figure


def run_colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each run: its system's, such as that of codial/photos; a spare one where that is taken."""
    wanted = [COLOURS.get(name.split("/")[0].lower()) for name in names]
    owned = [colour if colour not in wanted[:place] else None for place, colour in enumerate(wanted)]
    spare = cycle([colour for colour in PALETTE if colour not in owned] or PALETTE)
    return [colour or next(spare) for colour in owned]


def _bars(axes: Axes, report: ProbeReport, place: int, count: int, colour: str) -> None:
    """Draw one run's bars, the `place`-th of `count` in each group, each with its number at its foot."""
    means = [report.mean(layer) for layer in report.accuracies]
    spreads = [report.spread(layer) for layer in report.accuracies]
    centres = [index + GROUP * ((place + 0.5) / count - 0.5) for index in range(len(means))]
    axes.bar(
        centres,
        means,
        0.94 * GROUP / count,
        yerr=spreads,
        color=colour,
        label=report.name,
        error_kw=_WHISKERS,
        zorder=2,
    )
    for x, value in zip(centres, means, strict=True):
        axes.text(
            x, 2, f"{value:.1f}", ha="center", va="bottom", fontsize=SMALL, color="white", weight="bold", zorder=3
        )


def _series(axes: Axes, name: str, numbers: Mapping[str, float | None], layers: Sequence[str], colour: str) -> None:
    """Draw one system's printed numbers; layers without one are left out."""
    points = [(index, value) for index, layer in enumerate(layers) if (value := numbers.get(layer)) is not None]
    axes.plot([x for x, _ in points], [y for _, y in points], "D-", color=colour, markersize=5, label=name)


def _dress(axes: Axes, layers: Sequence[str], title: str) -> None:
    curve_axes(axes)
    axes.set_xticks(range(len(layers)), layers, fontsize=LABEL)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_ylim(0, 100)
    axes.set_title(title, fontsize=TITLE)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)
