"""Accuracy of each layer against the number of aligned pairs of views, as the paper's Figure 3."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from codial.plots.style import LABEL, PALETTE, SMALL, TITLE, subplots
from codial.plots.tooltips import set_tooltips


def pair_curves(accuracies: Mapping[str, Mapping[int, Sequence[float]]], title: str = "", note: str = "") -> Figure:
    """Draw one curve per layer: the mean over runs, with a band of ± one std if there are several runs.

    Args:
        accuracies: Accuracies in percent, one per run, by layer and number of pairs, as
            `codial.results.aggregate.accuracy_by_pairs` returns them.
        title: Text above the curves.
        note: Text below them, such as how data and scale differ from the paper's.
    """
    figure, grid = subplots(7, 4.4)
    axes = grid[0, 0]
    for (layer, values), color in zip(accuracies.items(), PALETTE, strict=False):
        counts = list(values)
        means = [mean(values[count]) for count in counts]
        stds = [stdev(values[count]) if len(values[count]) > 1 else 0.0 for count in counts]
        (line,) = axes.plot(counts, means, "o-", color=color, markersize=4, label=layer)
        set_tooltips(line, *(_tooltip(layer, count, values[count]) for count in counts))
        if any(stds):
            low, high = ([m + sign * s for m, s in zip(means, stds, strict=True)] for sign in (-1, 1))
            axes.fill_between(counts, low, high, color=color, alpha=0.18, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("aligned pairs of views per image" + f"\n\n{fill(note, 85)}" * bool(note), fontsize=LABEL)
    axes.set_ylabel("top-1 accuracy (%)", fontsize=LABEL)
    axes.set_title(title, fontsize=TITLE)
    axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _tooltip(layer: str, count: int, values: Sequence[float]) -> str:
    deviation, runs = (f" ± {stdev(values):.1f}", f"{len(values)} runs") if len(values) > 1 else ("", "one run")
    return f"{layer}, {count} pair{'s' * (count > 1)}: {mean(values):.1f}{deviation} % ({runs})"
