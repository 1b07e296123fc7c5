"""How far variants of CODIAL, for what the paper leaves open, are from its default."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codial.losses.bounds import TWO_LN2
from codial.plots.style import BLUE, GRAY, LABEL, ORANGE, SMALL, TITLE, curve_axes, new_figure
from codial.results.variant_study import ColorBound, VariantResult


def variant_dots(results: Mapping[str, Sequence[VariantResult]], layers: Sequence[str] = ()) -> Figure:
    """Draw a dot per variant at its difference in accuracy from the default, with a band of ± one std over seeds.

    Args:
        results: By question, the default's result first, as `VariantStudy.results`.
        layers: One panel each; by default the second and the last.
    """
    probed = list(next(iter(results.values()))[0].layers)
    layers = layers or (*probed[1:2], probed[-1])
    rows = [result for given in results.values() for result in given[1:]]
    figure = new_figure(4.2 + 3.2 * len(layers), 0.9 + 0.27 * (len(rows) + len(results)))
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    heads, lines = _positions(results)
    for axes, layer in zip(panels, layers, strict=True):
        default = next(iter(results.values()))[0].layers[layer]
        gains = [mean(result.layers[layer]) - mean(default) for result in rows]
        _draw_gains(axes, default, gains, lines)
        axes.set_title(layer, fontsize=TITLE)
        axes.set_xlabel("difference from the default (percentage points)", fontsize=SMALL)
    panels[0].set_yticks(lines, [result.label for result in rows], fontsize=SMALL)
    panels[0].set_ylim(lines[-1] + 0.6, -0.6)
    for question, y in zip(results, heads, strict=True):
        panels[0].annotate(
            question, (0, y), xycoords=("axes fraction", "data"), xytext=(-6, 0), textcoords="offset points",
            ha="right", va="center", fontsize=LABEL - 1, weight="bold", annotation_clip=False,
        )  # fmt: skip
    return figure


def _draw_gains(axes: Axes, default: Sequence[float], gains: Sequence[float], lines: Sequence[float]) -> None:
    curve_axes(axes)
    if len(default) > 1:
        axes.axvspan(-stdev(default), stdev(default), color=GRAY, alpha=0.25, linewidth=0)
    axes.axvline(0, color=GRAY, linewidth=1)
    for y, gain in zip(lines, gains, strict=True):
        color = BLUE if gain >= 0 else ORANGE
        axes.plot([0, gain], [y, y], color=color, linewidth=1.5)
        axes.plot(gain, y, "o", color=color, markersize=6)


def _positions(results: Mapping[str, Sequence[VariantResult]]) -> tuple[list[float], list[float]]:
    """Return the y positions of the questions and of the variants' lines below them."""
    heads: list[float] = []
    lines: list[float] = []
    y = 0.0
    for given in results.values():
        heads.append(y)
        lines += [y + 1 + i for i in range(len(given) - 1)]
        y += len(given)
    return heads, lines


def color_bound_dots(points: Sequence[ColorBound]) -> Figure:
    """Plot each configuration's final bound against the bound that its views' mean colors alone give.

    Args:
        points: Configurations, as `codial.results.variant_study.color_bounds` returns them; of dots that lie together
            only the first is labeled. If empty, the figure has a hint how to measure them.
    """
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    curve_axes(axes)
    axes.plot([0, TWO_LN2], [0, TWO_LN2], color=GRAY, linewidth=1, label="no more than colors alone")
    for first, group in _clusters(points).items():
        axes.plot([p.colors for p in group], [p.mi_js for p in group], "o", color=BLUE, markersize=6, alpha=0.7)
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        is_above = first.mi_js > first.colors
        axes.annotate(
            f"{first.method}{more}", (first.colors, first.mi_js), xytext=(-8 if is_above else 8, -4),
            textcoords="offset points", fontsize=SMALL, ha="right" if is_above else "left",
        )  # fmt: skip
    if not points:
        axes.text(0.7, 0.1, "not measured yet: run codial shortcuts RUN", fontsize=SMALL, ha="center")
    axes.set(xlim=(0, TWO_LN2), ylim=(-0.05, TWO_LN2))
    axes.set_xlabel("bound of a critic that sees mean colors only (nats)", fontsize=LABEL)
    axes.set_ylabel("mi_js at the end of the run (nats)", fontsize=LABEL)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper left")
    return figure


def _clusters(points: Sequence[ColorBound], distance: float = 0.08) -> dict[ColorBound, list[ColorBound]]:
    """Group points that lie near each other by the first of them."""
    clusters: dict[ColorBound, list[ColorBound]] = {}
    for point in points:
        near = (c for c in clusters if max(abs(c.colors - point.colors), abs(c.mi_js - point.mi_js)) < distance)
        clusters.setdefault(next(near, point), []).append(point)
    return clusters
