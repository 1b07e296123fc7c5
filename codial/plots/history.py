"""The curves of a run, while it goes on and afterwards. A term has the same name here as in its history."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from codial.config import CodialOptions, Config
from codial.information import TWO_LN2
from codial.plots.style import COLOURS, GREY, LABEL, SMALL, TITLE, VERMILION, curve_axes, log_scale, new_figure

Lines = Sequence[Mapping[str, Any]]  # of history, as `Run.history` returns them


def history(lines: Lines, config: Config) -> Figure:
    """Show every term of a run against its steps; the title says how far it is.

    Args:
        lines: of history, of both kinds, in order; there may be none yet.
        config: of the run.
    """
    aligned = isinstance(config.objective, CodialOptions) and config.objective.mi_weight > 0
    panels = _CODIAL_PANELS if aligned else _OTHER_PANELS
    rows = len(panels) // 3
    height = 2.75 * rows + 0.35
    figure = new_figure(10.5, height, own_layout=False)  # drawn again and again, so quickly
    figure.subplots_adjust(0.045, 0.45 / height, 0.92, 1 - 0.72 / height, wspace=0.32, hspace=0.4)
    places = figure.subplots(rows, 3, squeeze=False).flat
    for axes, panel in zip(places, panels, strict=True):
        panel(curve_axes(axes), lines, config)
        axes.set_xlabel("step", fontsize=SMALL)
        whole = _steps(lines, config)
        axes.set_xlim(-0.02 * whole, 1.02 * whole)
    figure.suptitle(headline(lines, config), fontsize=TITLE, y=1 - 0.1 / height, va="top")
    return figure


def headline(lines: Lines, config: Config) -> str:
    """Return in one line how far a run is: step, epoch, speed and loss."""
    if not lines:
        return f"{config.name}: not begun"
    last = lines[-1]
    said = [f"{config.name}: step {last['step']:,}", f"epoch {last['epoch']:.1f} of {config.train.epochs}"]
    if last.get("seconds"):
        said.append(f"{last['views'] / last['seconds']:,.0f} views/s")
    said += [f"loss {line['loss']:.3f}" for line in lines if "loss" in line][-1:]
    return ", ".join(said)


def outcome(lines: Lines) -> str:
    """Return in one line what a run has come to: its quick probe before and after, and its tasks at the end."""
    said = []
    probes = [line["probe"] for line in lines if "probe" in line]
    if len(probes) > 1:
        said.append(f"quick probe on conv5 {probes[0]:.0f} % at random weights, {probes[-1]:.0f} % after training")
    accuracies = [line["pretext_accuracy"] for line in lines if "pretext_accuracy" in line]
    said += [f"pretext_accuracy {100 * value:.0f} %" for value in accuracies[-1:]]
    said += [f"mi_js {value:.2f} nats" for value in [line["mi_js"] for line in lines if "mi_js" in line][-1:]]
    return "; ".join(said) or "not begun"


def _steps(lines: Lines, config: Config) -> float:
    """Return how many steps the whole run has, as far as its lines tell."""
    per_epoch = [line["step"] / line["epoch"] for line in lines[-1:] if line["epoch"]]
    return max([1.0, *(each * config.train.epochs for each in per_epoch), *(line["step"] for line in lines[-1:])])


def _curve(axes: Axes, lines: Lines, name: str, **style: Any) -> None:
    """Draw one term, if any line holds it, in its own colour."""
    points = [(line["step"], line[name]) for line in lines if name in line]
    marker = "o" if len(points) < 30 else ""
    if points:
        axes.plot(
            *zip(*points, strict=True), color=COLOURS[name], marker=marker, markersize=3, **{"label": name} | style
        )


def _level(axes: Axes, value: float, words: str) -> None:
    """Draw a dotted line at a value that means something, and say what."""
    axes.axhline(value, color=GREY, linestyle=":", linewidth=1.2, label=words)


def _end(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=LABEL)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=SMALL - 0.5, frameon=False)


def _draw_losses(axes: Axes, lines: Lines, config: Config) -> None:
    _curve(axes, lines, "loss")
    _curve(axes, lines, "loss_transform")
    if any("loss_transform" in line for line in lines):
        _level(axes, math.log(len(config.views.primary)), f"guessing, ln {len(config.views.primary)}")
    _end(axes, "loss (nats)")


def _draw_bound(axes: Axes, lines: Lines, config: Config) -> None:
    _curve(axes, lines, "mi_js")
    _level(axes, TWO_LN2, "ceiling, 2 ln 2")
    axes.axhline(0, color=VERMILION, linestyle=":", linewidth=1.2, label="nothing shared: collapse")
    _end(axes, "mi_js: what views share (nats)")


def _draw_divergence(axes: Axes, lines: Lines, config: Config) -> None:
    """Draw skl and beta, which multiply each other, on logarithmic axes of one panel."""
    assert isinstance(config.objective, CodialOptions)
    right = _two_curves(axes, lines, "skl", "beta")
    right.set_ylim(config.objective.beta_start / 2, config.objective.beta_end * 2)
    log_scale(right)
    if axes.lines:
        log_scale(axes)
    axes.set_title("skl: how far views disagree (nats); beta", fontsize=LABEL)


def _two_curves(axes: Axes, lines: Lines, left: str, right: str) -> Axes:
    """Draw a term for the left axis and, dashed, one for the right axis, which is returned."""
    other = axes.twinx()
    other.spines["top"].set_visible(False)
    other.tick_params(which="both", labelsize=SMALL)
    for each, name, style in ((axes, left, "-"), (other, right, "--")):
        _curve(each, lines, name, linestyle=style)
        dashed = " (dashed)" if each is other else ""
        each.set_ylabel(name + dashed, color=COLOURS[name], fontsize=SMALL)
    return other


def _draw_pretext(axes: Axes, lines: Lines, config: Config) -> None:
    percent = [
        {**line, "pretext_accuracy": 100 * line["pretext_accuracy"]} for line in lines if "pretext_accuracy" in line
    ]
    _curve(axes, percent, "pretext_accuracy")
    if any("loss_transform" in line for line in lines):
        _level(axes, 100 / len(config.views.primary), f"guessing, 1 in {len(config.views.primary)}")
    axes.set_ylim(0, 100)
    _end(axes, "pretext_accuracy (%)")


def _draw_usefulness(axes: Axes, lines: Lines, config: Config) -> None:
    """Draw both accuracies, and where they began: at random weights."""
    for name, words in (("knn", "knn, fc7"), ("probe", "probe, conv5")):
        _curve(axes, lines, name, label=words)
        first = next((line for line in lines if name in line), None)
        if first is not None and first["step"] == 0:
            axes.axhline(first[name], color=COLOURS[name], linestyle=":", linewidth=1.2)
    _end(axes, "knn and probe (%); dotted: random")


def _draw_spread(axes: Axes, lines: Lines, config: Config) -> None:
    _two_curves(axes, lines, "feature_std", "rankme").set_ylim(bottom=0)
    axes.set_ylim(0, 1)
    axes.set_title("spread of fc7; both at 0: collapse", fontsize=LABEL)


_Panel = Callable[[Axes, Lines, Config], None]
_CODIAL_PANELS: Sequence[_Panel] = (
    _draw_losses, _draw_bound, _draw_divergence, _draw_pretext, _draw_usefulness, _draw_spread,
)  # fmt: skip
_OTHER_PANELS: Sequence[_Panel] = (_draw_losses, _draw_pretext, _draw_usefulness)


def compare(histories: Mapping[str, Lines], names: Sequence[str] = ("knn", "probe")) -> Figure:
    """Show measures of several runs over the views that they have seen, one panel a measure.

    Args:
        histories: lines of history by the run's name, such as "codial/photos"; a run of one measurement (random
            weights) becomes a level line.
        names: of the measures.
    """
    figure = new_figure(4.5 * len(names), 3.2)
    places = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(places, names, strict=True):
        curve_axes(axes)
        for system, lines in histories.items():
            _draw_run(axes, system, [(line["views"], line[name]) for line in lines if name in line])
        axes.set_title({"knn": "knn on fc7 (%)", "probe": "quick probe on conv5 (%)"}.get(name, name), fontsize=TITLE)
        axes.set_xlabel("views", fontsize=LABEL)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    places[0].legend(fontsize=SMALL, frameon=False)
    return figure


def _draw_run(axes: Axes, system: str, points: Sequence[tuple[float, float]]) -> None:
    colour = COLOURS.get(system.split("/")[0], GREY)
    if len(points) == 1:
        axes.axhline(points[0][1], color=colour, linestyle="--", label=system)
    elif points:
        axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4, label=system)
