"""The curves of a run, while it goes on and afterwards. A term has the same name here as in its history."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from codial.config import CodialOptions, Config
from codial.information import TWO_LN2
from codial.plots.style import (
    BLACK,
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LABEL,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    TITLE,
    VERMILION,
    curve_axes,
    log_scale,
    new_figure,
    picture_axes,
)
from codial.plots.views import NAMES
from codial.verdicts import chance

Lines = Sequence[Mapping[str, Any]]  # of history, as `Run.history` returns them

_MARKERS = "^svDP"  # of runs laid over the own one
_SPARE = (BLUE, ORANGE, GREEN, PURPLE, SKY)  # for losses without a colour of their own
_WHERE = {"knn": "knn, fc7", "probe": "probe, conv5"}


def history(lines: Lines, config: Config, others: Mapping[str, Lines] | None = None) -> Figure:
    """Show every term of a run against its steps; the title says how far it is.

    Other runs are laid over it, thinner, in the same colours: the colour is the term, the marker is the run. What they
    have in common is then the number of views that they have seen, which takes the place of the steps.

    Args:
        lines: of history, of both kinds, in order; there may be none yet.
        config: of the run.
        others: lines of other runs by their names.
    """
    others = others or {}
    panels = _panels(lines, config)
    columns, lines_of_names = _legend_shape([config.name, *others])
    rows, names_high = len(panels) // 3, 0.25 * lines_of_names * bool(others)
    above, height = 0.72 + names_high, 2.2 * rows + 0.65 + names_high
    figure = new_figure(10.5, height, own_layout=False)  # drawn again and again, so quickly
    figure.subplots_adjust(0.055, 0.45 / height, 0.985, 1 - above / height, wspace=0.2, hspace=0.5)
    for axes, panel in zip(figure.subplots(rows, 3, squeeze=False).flat, panels, strict=True):
        if panel is None:
            _draw_matrix(axes, lines)
        else:
            _draw(panel, axes, lines, config, others)
    figure.suptitle(headline(lines, config), fontsize=TITLE, y=1 - 0.1 / height, va="top")
    if others:
        _name_runs(figure, [config.name, *others], 1 - 0.3 / height, columns)
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


class _Panel(NamedTuple):
    """What one place of the figure shows."""

    title: str
    terms: tuple[str, ...]  # "loss*" stands for all that begin so
    levels: Callable[[Axes, Lines, Config], None] = lambda axes, lines, config: None  # what the values mean
    limits: tuple[float, float | None] | None = None
    logarithmic: bool = False


def _panels(lines: Lines, config: Config) -> list[_Panel | None]:
    """Return the panels in their order; None is the matrix."""
    features = [
        _Panel(_SPREAD, ("feature_std",), limits=(0, 1)),
        _Panel("rankme of fc7: directions used", ("rankme",), limits=(0, None)),
    ]
    tasks = [_Panel("pretext_accuracy (%)", ("pretext_accuracy",), _guessing, (0, 100)), None, _USEFUL]
    if isinstance(config.objective, CodialOptions) and config.objective.mi_weight > 0:
        ends = config.objective.beta_start / 2, config.objective.beta_end * 2
        aligned = [
            _Panel("mi_js: what views share (nats)", ("mi_js",), _ceiling),
            _Panel("skl: how far views disagree (nats)", ("skl",), logarithmic=True),
            _Panel("beta, which multiplies skl", ("beta",), limits=ends, logarithmic=True),
        ]
        return [_LOSSES, *aligned, *tasks, *features]
    return [_LOSSES, *tasks, *features]


def _draw(panel: _Panel, axes: Axes, lines: Lines, config: Config, others: Mapping[str, Lines]) -> None:
    across = "views" if others else "step"
    curve_axes(axes)
    names = _names(panel.terms, [lines, *others.values()])
    spare = iter(_SPARE)
    colours = {name: COLOURS.get(name) or next(spare, GREY) for name in names}
    for marker, other in zip(cycle(_MARKERS), others.values(), strict=False):
        for name in names:
            laid = {"color": colours[name], "marker": marker, "label": "", "markevery": 0.15}
            _curve(axes, other, name, across, linewidth=0.8, alpha=0.6, **laid)
    for name in names:
        marker = "o" if len([line for line in lines if name in line]) < 30 else ""
        _curve(axes, lines, name, across, color=colours[name], marker=marker)
    panel.levels(axes, lines, config)
    if panel.limits:
        axes.set_ylim(*panel.limits)
    if panel.logarithmic and (axes.lines or panel.limits):
        log_scale(axes)
    axes.set_title(panel.title, fontsize=LABEL)
    _span(axes, [lines, *others.values()], _whole(lines, config, across), across)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=SMALL - 0.5, frameon=False)


def _names(terms: Sequence[str], histories: Sequence[Lines]) -> list[str]:
    """Return the terms of a panel; a star stands for all that the histories hold."""
    if "loss*" not in terms:
        return list(terms)
    found = {name for lines in histories for line in lines for name in line if name.startswith("loss")}
    return sorted(found, key=lambda name: (name not in COLOURS, name))


def _curve(axes: Axes, lines: Lines, name: str, across: str, **style: Any) -> None:
    """Draw one term, if any line holds it; parts in percent."""
    scale = 100 if name == "pretext_accuracy" else 1
    points = [(line[across], scale * line[name]) for line in lines if name in line]
    if points:
        style.setdefault("label", _WHERE.get(name, name))
        axes.plot(*zip(*points, strict=True), markersize=3, **style)


def _whole(lines: Lines, config: Config, across: str) -> float:
    """Return how many steps, or views, the whole run has, as far as its lines tell."""
    steps = _steps(lines, config)
    each = [line["views"] / line["step"] for line in lines[-1:] if line["step"]]
    return steps if across == "step" else steps * (each[0] if each else 1)


def _span(axes: Axes, histories: Sequence[Lines], whole: float, across: str) -> None:
    """Let the axis span the run, or for a while its half, quarter, ..., lest a long one look empty at first."""
    reached = max((line[across] for lines in histories for line in lines[-1:]), default=0)
    while reached and whole / 2 >= reached:
        whole /= 2
    end = max(whole, reached)
    axes.set_xlim(-0.02 * end, 1.02 * end)
    axes.set_xlabel(across, fontsize=SMALL, labelpad=1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))  # each number takes time to draw


def _level(axes: Axes, value: float, words: str, colour: str = GREY) -> None:
    """Draw a dotted line at a value that means something, and say what."""
    axes.axhline(value, color=colour, linestyle=":", linewidth=1.2, label=words)


def _guessed_losses(axes: Axes, lines: Lines, config: Config) -> None:
    if any("loss_transform" in line for line in lines):
        _level(axes, math.log(len(config.views.primary)), f"guessing, ln {len(config.views.primary)}")


def _guessing(axes: Axes, lines: Lines, config: Config) -> None:
    if (part := chance(lines, config)) is not None:
        _level(axes, 100 * part, f"guessing, 1 in {round(1 / part)}")


def _ceiling(axes: Axes, lines: Lines, config: Config) -> None:
    _level(axes, TWO_LN2, "ceiling, 2 ln 2")
    _level(axes, 0, "nothing shared: collapse", VERMILION)


def _random(axes: Axes, lines: Lines, config: Config) -> None:
    """Mark where both accuracies began: at random weights."""
    for name in ("knn", "probe"):
        first = next((line for line in lines if name in line), None)
        if first is not None and first["step"] == 0:
            axes.axhline(first[name], color=COLOURS[name], linestyle=":", linewidth=1.2)


_LOSSES = _Panel("loss (nats)", ("loss*",), _guessed_losses)
_USEFUL = _Panel("knn and probe (%); dotted: random", ("knn", "probe"), _random)
_SPREAD = "feature_std of fc7; 0: collapse"


def _draw_matrix(axes: Axes, lines: Lines) -> None:
    """Show what each class of the pretext is taken for, in percent of its row."""
    axes.set_title("shown (rows), taken for (columns), %", fontsize=LABEL)
    matrices = [line["confusion"] for line in lines if "confusion" in line]
    picture_axes(axes)
    if not matrices:
        axes.text(0.5, 0.5, "no matrix in this history", ha="center", fontsize=SMALL, transform=axes.transAxes)
        return
    names = [NAMES.get(name, name).removesuffix(" turn") for name in matrices[-1]["classes"]]
    percent = [[100 * count / max(1, sum(row)) for count in row] for row in matrices[-1]["counts"]]
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, counts in enumerate(percent):
        for column, value in enumerate(counts):
            colour = "white" if value > 55 else BLACK
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=SMALL - 1)
    axes.set_xticks(range(len(names)), names, fontsize=SMALL - 1)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL - 1)
    axes.tick_params(length=0)


def _legend_shape(names: Sequence[str]) -> tuple[int, int]:
    """Return how many names stand beside each other, and in how many lines."""
    widest = 0.45 + 0.085 * max(map(len, names))  # inches
    columns = max(1, min(len(names), int(10.5 / widest)))
    return columns, -(-len(names) // columns)


def _name_runs(figure: Figure, names: Sequence[str], top: float, columns: int) -> None:
    """Say which marker is which run; the first is the own one."""
    own = Line2D([], [], color=BLACK, label=names[0])
    laid = [
        Line2D([], [], color=BLACK, linewidth=0.8, alpha=0.6, marker=marker, markersize=4, label=name)
        for name, marker in zip(names[1:], cycle(_MARKERS), strict=False)
    ]
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, top), "ncols": columns}
    figure.legend(handles=[own, *laid], fontsize=SMALL, frameon=False, **place)


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
