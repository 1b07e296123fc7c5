"""Grouped bar charts by layer, with standard deviations, the paper's numbers as markers, and tooltips."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, Container
from matplotlib.lines import Line2D

from codial.plots.style import BLACK, LABEL, SMALL, curve_axes, run_colors, text_color
from codial.plots.tooltips import set_tooltips

GROUP = 0.84  # width of a layer's group of bars, relative to the distance between two layers
MARKERS = {"STL-10": "D", "ImageNet": "^"}  # of the paper's numbers, by data set
_MARKER_STYLE: dict[str, Any] = {
    "linestyle": "none",
    "markersize": 6,
    "markerfacecolor": "white",
    "markeredgecolor": BLACK,
}
_CAP = 3  # points, half the width of an error bar's cap; only error bars over several runs have caps


@dataclass(frozen=True)
class Bars:
    """The bars of one configuration."""

    name: str
    values: Mapping[str, Sequence[float]]  # by layer, one value per run
    probe_std: Mapping[str, float]  # by layer, a single run's std over probe seeds; empty for one seed
    paper: tuple[str, Mapping[str, float | None]] | None  # the paper's data set and its numbers by layer

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(next(iter(self.values.values())))

    @property
    def label(self) -> str:
        """The name and the number of runs."""
        return f"{self.name}, {_run_count(self.runs)}"

    def std(self, layer: str) -> float | None:
        """Return the std over runs, or of a single run over its probe seeds; None if there is neither."""
        return stdev(self.values[layer]) if self.runs > 1 else self.probe_std.get(layer)

    def tooltip(self, layer: str, sign: str) -> str:
        """Return the text of a bar, such as "codial/photos, conv5: 89.6 ± 1.1 (3 runs)"."""
        std = self.std(layer)
        deviation = "" if std is None else f" ± {std:.1f}"
        source = ", ± over its probe seeds" if self.runs == 1 and deviation else ""
        return (
            f"{self.name}, {layer}: {mean(self.values[layer]):{sign}.1f}{deviation} ({_run_count(self.runs)}{source})"
        )


def draw_bars(axes: Axes, bars: Sequence[Bars], sign: str = "") -> None:
    """Draw bars with error bars and the paper's markers, and a legend below.

    Args:
        axes: Where to draw.
        bars: The configurations. Each has bars at its own layers; those of all stand in order of first appearance.
        sign: "+" to print values with their sign, for differences.
    """
    layers = list(dict.fromkeys(layer for each in bars for layer in each.values))
    for index, (each, color) in enumerate(zip(bars, run_colors([b.name for b in bars]), strict=True)):
        shift = GROUP * ((index + 0.5) / len(bars) - 0.5)
        centers = [layers.index(layer) + shift for layer in each.values]
        heights = [mean(values) for values in each.values.values()]
        container = axes.bar(centers, heights, 0.94 * GROUP / len(bars), color=color, label=each.label, zorder=2)
        for bar, layer in zip(container, each.values, strict=True):
            set_tooltips(bar, each.tooltip(layer, sign))
        _draw_error_bars(axes, each, centers, heights)
        _draw_paper(axes, each, centers, sign)
    curve_axes(axes)
    axes.set_xticks(range(len(layers)), layers, fontsize=LABEL)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    handles = [*axes.get_legend_handles_labels()[0], *_legend_entries(axes, bars)]
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "ncols": min(3, len(handles))}
    axes.legend(handles=handles, fontsize=SMALL, frameon=False, **below)


def label_bars(axes: Axes) -> None:
    """Print each bar's height at its foot."""
    for container in axes.containers:
        for bar in container if isinstance(container, BarContainer) else ():
            style: dict[str, Any] = {"fontsize": SMALL, "weight": "bold"}
            style["color"] = text_color(to_hex(bar.get_facecolor()))
            axes.text(bar.get_x() + bar.get_width() / 2, 2, f"{bar.get_height():.1f}", ha="center", zorder=3, **style)


def _draw_error_bars(axes: Axes, bars: Bars, centers: Sequence[float], heights: Sequence[float]) -> None:
    stds = [std for layer in bars.values if (std := bars.std(layer)) is not None]
    if stds:
        style: dict[str, Any] = {"fmt": "none", "ecolor": BLACK, "elinewidth": 1.3, "zorder": 3}
        axes.errorbar(centers, heights, stds, capsize=_CAP if bars.runs > 1 else 0, **style)


def _draw_paper(axes: Axes, bars: Bars, centers: Sequence[float], sign: str) -> None:
    """Draw the paper's numbers for the same method over its bars, for the layers that have one."""
    dataset, numbers = bars.paper or ("", {})
    pairs = zip(bars.values, centers, strict=True)
    reported = [(x, value, layer) for layer, x in pairs if (value := numbers.get(layer)) is not None]
    if reported:
        x, y, _ = zip(*reported, strict=True)
        (line,) = axes.plot(x, y, marker=MARKERS[dataset], zorder=4, **_MARKER_STYLE)
        method = bars.name.split("/")[0]
        texts = [f"{method}, {layer}: {value:{sign}.1f} in the paper, on {dataset}" for _, value, layer in reported]
        set_tooltips(line, *texts)


def _legend_entries(axes: Axes, bars: Sequence[Bars]) -> Iterator[Artist | Container]:
    """Yield the legend entries of the error bars and markers that are drawn."""
    if any(each.runs > 1 for each in bars):
        yield _error_bar(axes, _CAP, "± std over runs (capped)")
    if any(each.runs == 1 and each.probe_std for each in bars):
        yield _error_bar(axes, 0, "± std over a run's probe seeds (plain)")
    for dataset in dict.fromkeys(each.paper[0] for each in bars if each.paper):
        yield Line2D([], [], marker=MARKERS[dataset], label=f"the paper, {dataset}: other data", **_MARKER_STYLE)


def _error_bar(axes: Axes, cap: int, label: str) -> Container:
    return axes.errorbar([], [], yerr=[], fmt="none", ecolor=BLACK, elinewidth=1.3, capsize=cap, label=label)


def _run_count(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"
