"""Accuracy of each layer against the number of pairs of views that are aligned, after the paper's Figure 3."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from codial.plots.hover import tell
from codial.plots.style import LABEL, PALETTE, SMALL, TITLE, subplots


def pair_curves(accuracies: Mapping[str, Mapping[int, Sequence[float]]], title: str = "", note: str = "") -> Figure:
    """Draw a curve for each layer: the mean over runs, with a band of one standard deviation where there are several.

    Args:
        accuracies: in percent, by layer and number of pairs, a value a run, as `reports.by_pairs` returns them.
        title: above the curves.
        note: beneath them; say there in what data and scale differ from the paper's.
    """
    figure, grid = subplots(7, 4.4)
    axes = grid[0, 0]
    for (layer, values), colour in zip(accuracies.items(), PALETTE, strict=False):
        counts = list(values)
        means = [mean(values[count]) for count in counts]
        spreads = [stdev(values[count]) if len(values[count]) > 1 else 0.0 for count in counts]
        (line,) = axes.plot(counts, means, "o-", color=colour, markersize=4, label=layer)
        tell(line, *(_told(layer, count, values[count]) for count in counts))
        if any(spreads):
            low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
            axes.fill_between(counts, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("pairs of views aligned for each picture" + f"\n\n{fill(note, 85)}" * bool(note), fontsize=LABEL)
    axes.set_ylabel("top-1 accuracy in percent", fontsize=LABEL)
    axes.set_title(title, fontsize=TITLE)
    axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _told(layer: str, count: int, values: Sequence[float]) -> str:
    spread, runs = (f" ± {stdev(values):.1f}", f"{len(values)} runs") if len(values) > 1 else ("", "one run")
    return f"{layer}, {count} pair{'s' * (count > 1)}: {mean(values):.1f}{spread} % ({runs})"
