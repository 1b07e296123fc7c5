"""Bars in groups, a group for each layer: spread over runs, the paper's numbers as marks, and words for a pointer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, Container
from matplotlib.lines import Line2D

from codial.plots.hover import tell
from codial.plots.style import BLACK, LABEL, SMALL, curve_axes, ink, run_colours

GROUP = 0.84  # width of a layer's bars together, of the distance between two layers
MARKS = {"STL-10": "D", "ImageNet": "^"}  # by where the paper's numbers are from
_LOOK: dict[str, Any] = {"linestyle": "none", "markersize": 6, "markerfacecolor": "white", "markeredgecolor": BLACK}
_CAP = 3  # points: half the width of a whisker's end, where it tells of several runs


@dataclass(frozen=True)
class Bars:
    """One configuration: a value a run for each layer, and what the paper prints for it."""

    name: str
    values: Mapping[str, Sequence[float]]
    within: Mapping[str, float]  # by layer, a single run's spread over its probe seeds; empty where it had but one
    printed: tuple[str, Mapping[str, float | None]] | None  # the paper's data set, and its numbers by layer

    @property
    def runs(self) -> int:
        """How many runs a bar is the mean of."""
        return len(next(iter(self.values.values())))

    @property
    def label(self) -> str:
        """The name, and how many runs stand behind it."""
        return f"{self.name}, {_runs(self.runs)}"

    def spread(self, layer: str) -> float | None:
        """Return one standard deviation: over runs, or of one run over its probe seeds; None where there is neither."""
        return stdev(self.values[layer]) if self.runs > 1 else self.within.get(layer)

    def words(self, layer: str, sign: str) -> str:
        """Return a bar in words, such as "codial/photos, conv5: 89.6 ± 1.1 (3 runs)"."""
        spread, behind = self.spread(layer), _runs(self.runs)
        told = "" if spread is None else f" ± {spread:.1f}"
        behind += ", ± over its probe seeds" if self.runs == 1 and told else ""
        return f"{self.name}, {layer}: {mean(self.values[layer]):{sign}.1f}{told} ({behind})"


def draw_bars(axes: Axes, bars: Sequence[Bars], sign: str = "") -> None:
    """Draw bars, whiskers and marks, and a legend beneath.

    Args:
        axes: to draw in.
        bars: the configurations, all of the same layers.
        sign: "+" if values are differences, to be told with their sign.
    """
    layers = list(bars[0].values)
    for place, (each, colour) in enumerate(zip(bars, run_colours([b.name for b in bars]), strict=True)):
        centres = [index + GROUP * ((place + 0.5) / len(bars) - 0.5) for index in range(len(layers))]
        heights = [mean(each.values[layer]) for layer in layers]
        drawn = axes.bar(centres, heights, 0.94 * GROUP / len(bars), color=colour, label=each.label, zorder=2)
        for bar, layer in zip(drawn, layers, strict=True):
            tell(bar, each.words(layer, sign))
        _whiskers(axes, each, centres, heights)
        _marks(axes, each, centres, sign)
    curve_axes(axes)
    axes.set_xticks(range(len(layers)), layers, fontsize=LABEL)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    handles = [*axes.get_legend_handles_labels()[0], *_keys(axes, bars)]
    beneath: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "ncols": min(3, len(handles))}
    axes.legend(handles=handles, fontsize=SMALL, frameon=False, **beneath)


def number_bars(axes: Axes) -> None:
    """Print each bar's height at its foot."""
    for drawn in axes.containers:
        for bar in drawn if isinstance(drawn, BarContainer) else ():
            look: dict[str, Any] = {"fontsize": SMALL, "weight": "bold", "color": ink(to_hex(bar.get_facecolor()))}
            axes.text(bar.get_x() + bar.get_width() / 2, 2, f"{bar.get_height():.1f}", ha="center", zorder=3, **look)


def _whiskers(axes: Axes, bars: Bars, centres: Sequence[float], heights: Sequence[float]) -> None:
    spreads = [spread for layer in bars.values if (spread := bars.spread(layer)) is not None]
    if spreads:
        look: dict[str, Any] = {"fmt": "none", "ecolor": BLACK, "elinewidth": 1.3, "zorder": 3}
        axes.errorbar(centres, heights, spreads, capsize=_CAP if bars.runs > 1 else 0, **look)


def _marks(axes: Axes, bars: Bars, centres: Sequence[float], sign: str) -> None:
    """Draw the paper's numbers over the bars of the same system; layers without one are left out."""
    where, numbers = bars.printed or ("", {})
    places = zip(bars.values, centres, strict=True)
    known = [(x, value, layer) for layer, x in places if (value := numbers.get(layer)) is not None]
    if known:
        x, y, _ = zip(*known, strict=True)
        (line,) = axes.plot(x, y, marker=MARKS[where], zorder=4, **_LOOK)
        system = bars.name.split("/")[0]
        tell(line, *(f"{system}, {layer}: {value:{sign}.1f} in the paper, on {where}" for _, value, layer in known))


def _keys(axes: Axes, bars: Sequence[Bars]) -> Iterator[Artist | Container]:
    """Yield what the legend says of whiskers and marks, of those that are there."""
    if any(each.runs > 1 for each in bars):
        yield _whisker(axes, _CAP, "± over runs (capped)")
    if any(each.runs == 1 and each.within for each in bars):
        yield _whisker(axes, 0, "± over a run's probe seeds (plain)")
    for where in dict.fromkeys(each.printed[0] for each in bars if each.printed):
        yield Line2D([], [], marker=MARKS[where], label=f"the paper, {where}: other data", **_LOOK)


def _whisker(axes: Axes, cap: int, words: str) -> Container:
    return axes.errorbar([], [], yerr=[], fmt="none", ecolor=BLACK, elinewidth=1.3, capsize=cap, label=words)


def _runs(count: int) -> str:
    return "one run" if count == 1 else f"{count} runs"
