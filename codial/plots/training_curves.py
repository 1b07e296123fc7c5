"""Training curves of a run in progress or finished. Terms have the same names as in the run's history."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from codial.config import Config
from codial.methods.codial import CodialConfig
from codial.plots.style import (
    BLACK,
    BLUE,
    COLORS,
    GRAY,
    GREEN,
    LABEL,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    TITLE,
    VERMILION,
    curve_axes,
    image_axes,
    log_scale,
    new_figure,
)
from codial.plots.transforms import short_name
from codial.training.diagnostics import ceiling_text, chance

Lines = Sequence[Mapping[str, Any]]  # of a history, as `Run.history` returns them

_MARKERS = "^svDP"  # of overlaid runs
_SPARE_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY)  # for losses without a color in COLORS
_LABELS = {"knn": "knn, last layer", "probe": "probe, last maps"}


def history(lines: Lines, config: Config, others: Mapping[str, Lines] | None = None) -> Figure:
    """Plot every term of a run against its steps, with the run's progress in the title.

    Other runs are overlaid with thinner lines in the same colors: the color stands for the term, the marker for the
    run. The x axis is then the number of views instead of steps.

    Args:
        lines: Train and monitor lines of the history, in order; may be empty.
        config: The run's configuration.
        others: Lines of other runs by name.
    """
    others = others or {}
    panels = _panels(lines, config)
    columns, legend_lines = _legend_shape([config.name, *others])
    rows = -(-len(panels) // 3)
    legend_height = 0.25 * legend_lines * bool(others)
    above = 0.72 + legend_height
    height = 2.2 * rows + 0.65 + legend_height
    figure = new_figure(10.5, height, constrained=False)  # faster, for live figures
    figure.subplots_adjust(0.055, 0.45 / height, 0.985, 1 - above / height, wspace=0.2, hspace=0.5)
    grid = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid, panels, strict=False):
        if panel is None:
            _draw_matrix(axes, lines)
        else:
            _draw(panel, axes, lines, config, others)
    figure.suptitle(headline(lines, config), fontsize=TITLE, y=1 - 0.1 / height, va="top")
    if others:
        _draw_legend(figure, [config.name, *others], 1 - 0.3 / height, columns)
    return figure


def headline(lines: Lines, config: Config) -> str:
    """Return a run's step, epoch, speed and loss in one line."""
    if not lines:
        return f"{config.name}: not started"
    last = lines[-1]
    parts = [f"{config.name}: step {last['step']:,}", f"epoch {last['epoch']:.1f} of {config.train.epochs}"]
    if last.get("seconds"):
        parts.append(f"{last['views'] / last['seconds']:,.0f} views/s")
    parts += [f"loss {line['loss']:.3f}" for line in lines if "loss" in line][-1:]
    return ", ".join(parts)


def outcome(lines: Lines) -> str:
    """Return a run's probe accuracy before and after training and its last task metrics in one line."""
    parts = []
    probes = [line["probe"] for line in lines if "probe" in line]
    if len(probes) > 1:
        parts.append(f"probe on the last maps {probes[0]:.0f} % with random weights, {probes[-1]:.0f} % after training")
    accuracies = [line["pretext_accuracy"] for line in lines if "pretext_accuracy" in line]
    parts += [f"pretext_accuracy {100 * value:.0f} %" for value in accuracies[-1:]]
    bounds = [(name, line[name]) for line in lines for name in line if name.startswith("mi_")]
    parts += [f"{name} {value:.2f} nats" for name, value in bounds[-1:]]
    return "; ".join(parts) or "not started"


def _steps(lines: Lines, config: Config) -> float:
    """Return the total number of steps of the run, estimated from its lines."""
    per_epoch = [line["step"] / line["epoch"] for line in lines[-1:] if line["epoch"]]
    return max([1.0, *(each * config.train.epochs for each in per_epoch), *(line["step"] for line in lines[-1:])])


class _Panel(NamedTuple):
    """A panel of curves."""

    title: str
    terms: tuple[str, ...]  # "loss*" and "mi_*" stand for all terms with this prefix
    references: Callable[[Axes, Lines, Config], None] = lambda axes, lines, config: None  # draws reference lines
    limits: tuple[float, float | None] | None = None
    logarithmic: bool = False


def _panels(lines: Lines, config: Config) -> list[_Panel | None]:
    """Return the panels in order; None stands for the confusion matrix."""
    features = [
        _Panel(_FEATURE_STD_TITLE, ("feature_std",), limits=(0, 1)),
        _Panel("rankme: effective rank of the last layer", ("rankme",), limits=(0, None)),
    ]
    tasks = [_Panel("pretext_accuracy (%)", ("pretext_accuracy",), _draw_chance, (0, 100)), None, _ACCURACIES]
    if isinstance(config.method, CodialConfig) and config.method.mi_weight > 0:
        bound = _Panel(f"{config.method.mi_term}: bound on MI of views (nats)", ("mi_*",), _draw_bounds)
        if not config.method.bottleneck:
            return [_LOSSES, bound, *tasks, *features]
        ends = config.method.beta_start / 2, config.method.beta_end * 2
        bottleneck = [
            _Panel("skl: divergence of views (nats)", ("skl",), logarithmic=True),
            _Panel("beta: weight of skl", ("beta",), limits=ends, logarithmic=True),
        ]
        return [_LOSSES, bound, *bottleneck, *tasks, *features]
    return [_LOSSES, *tasks, *features]


def _draw(panel: _Panel, axes: Axes, lines: Lines, config: Config, others: Mapping[str, Lines]) -> None:
    x_axis = "views" if others else "step"
    curve_axes(axes)
    names = _names(panel.terms, [lines, *others.values()])
    spare = iter(_SPARE_COLORS)
    colors = {name: COLORS.get(name) or next(spare, GRAY) for name in names}
    for marker, other in zip(cycle(_MARKERS), others.values(), strict=False):
        for name in names:
            style = {"color": colors[name], "marker": marker, "label": "", "markevery": 0.15}
            _curve(axes, other, name, x_axis, linewidth=0.8, alpha=0.6, **style)
    for name in names:
        marker = "o" if len([line for line in lines if name in line]) < 30 else ""
        _curve(axes, lines, name, x_axis, color=colors[name], marker=marker)
    panel.references(axes, lines, config)
    if panel.limits:
        axes.set_ylim(*panel.limits)
    if panel.logarithmic and (axes.lines or panel.limits):
        log_scale(axes)
    axes.set_title(panel.title, fontsize=LABEL)
    _set_x_limits(axes, [lines, *others.values()], _end(lines, config, x_axis), x_axis)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=SMALL - 0.5, frameon=False)


def _names(terms: Sequence[str], histories: Sequence[Lines]) -> list[str]:
    """Return the terms of a panel, with "loss*" expanded to all losses of the histories, and "mi_*" to all bounds."""
    if not terms[0].endswith("*"):
        return list(terms)
    found = {name for lines in histories for line in lines for name in line if name.startswith(terms[0][:-1])}
    return sorted(found, key=lambda name: (name not in COLORS, name))


def _curve(axes: Axes, lines: Lines, name: str, x_axis: str, **style: Any) -> None:
    """Draw one term, if any line has it; fractions in percent."""
    scale = 100 if name == "pretext_accuracy" else 1
    points = [(line[x_axis], scale * line[name]) for line in lines if name in line]
    if points:
        style.setdefault("label", _LABELS.get(name, name))
        axes.plot(*zip(*points, strict=True), markersize=3, **style)


def _end(lines: Lines, config: Config, x_axis: str) -> float:
    """Return the total number of steps or views of the run, estimated from its lines."""
    steps = _steps(lines, config)
    views_per_step = [line["views"] / line["step"] for line in lines[-1:] if line["step"]]
    return steps if x_axis == "step" else steps * (views_per_step[0] if views_per_step else 1)


def _set_x_limits(axes: Axes, histories: Sequence[Lines], total: float, x_axis: str) -> None:
    """Set the x limits to the run's total, or early on to a half, quarter, ... of it, so that curves fill the panel."""
    reached = max((line[x_axis] for lines in histories for line in lines[-1:]), default=0)
    while reached and total / 2 >= reached:
        total /= 2
    end = max(total, reached)
    axes.set_xlim(-0.02 * end, 1.02 * end)
    axes.set_xlabel(x_axis, fontsize=SMALL, labelpad=1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))  # tick labels are slow to draw


def _draw_reference(axes: Axes, value: float, label: str, color: str = GRAY) -> None:
    """Draw a labeled dotted line at a reference value."""
    axes.axhline(value, color=color, linestyle=":", linewidth=1.2, label=label)


def _draw_chance_loss(axes: Axes, lines: Lines, config: Config) -> None:
    if any("loss_transform" in line for line in lines):
        _draw_reference(axes, math.log(len(config.views.transforms)), f"chance, ln {len(config.views.transforms)}")


def _draw_chance(axes: Axes, lines: Lines, config: Config) -> None:
    if (rate := chance(lines, config)) is not None:
        _draw_reference(axes, 100 * rate, f"chance, 1 in {round(1 / rate)}")


def _draw_bounds(axes: Axes, lines: Lines, config: Config) -> None:
    assert isinstance(config.method, CodialConfig)
    if formula := ceiling_text(config):
        _draw_reference(axes, config.method.ceiling(config), f"maximum, {formula}")
    _draw_reference(axes, 0, "0: collapse", VERMILION)


def _draw_random_weights(axes: Axes, lines: Lines, config: Config) -> None:
    """Draw the accuracies of the random weights at the start of the run."""
    for name in ("knn", "probe"):
        first = next((line for line in lines if name in line), None)
        if first is not None and first["step"] == 0:
            axes.axhline(first[name], color=COLORS[name], linestyle=":", linewidth=1.2)


_LOSSES = _Panel("loss (nats)", ("loss*",), _draw_chance_loss)
_ACCURACIES = _Panel("knn, probe (%); dotted: random weights", ("knn", "probe"), _draw_random_weights)
_FEATURE_STD_TITLE = "feature_std of the last layer; 0: collapse"


def _draw_matrix(axes: Axes, lines: Lines) -> None:
    """Draw the pretext task's last confusion matrix, in percent of each row."""
    axes.set_title("confusion matrix (%)", fontsize=LABEL)
    matrices = [line["confusion"] for line in lines if "confusion" in line]
    image_axes(axes)
    if not matrices:
        axes.text(
            0.5, 0.5, "no confusion matrix in this history", ha="center", fontsize=SMALL, transform=axes.transAxes
        )
        return
    names = [short_name(name) for name in matrices[-1]["classes"]]
    percent = [[100 * count / max(1, sum(row)) for count in row] for row in matrices[-1]["counts"]]
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, counts in enumerate(percent):
        for column, value in enumerate(counts):
            color = "white" if value > 55 else BLACK
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=SMALL - 1)
    axes.set_xticks(range(len(names)), names, fontsize=SMALL - 1)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL - 1)
    axes.set_xlabel("predicted class", fontsize=SMALL, labelpad=1)
    axes.set_ylabel("true class", fontsize=SMALL, labelpad=1)
    axes.tick_params(length=0)


def _legend_shape(names: Sequence[str]) -> tuple[int, int]:
    """Return the number of columns and lines of a legend."""
    width = 0.45 + 0.085 * max(map(len, names))  # inches, of the widest entry
    columns = max(1, min(len(names), int(10.5 / width)))
    return columns, -(-len(names) // columns)


def _draw_legend(figure: Figure, names: Sequence[str], top: float, columns: int) -> None:
    """Draw the legend of runs; the first name is that of the run itself."""
    first = Line2D([], [], color=BLACK, label=names[0])
    overlaid = [
        Line2D([], [], color=BLACK, linewidth=0.8, alpha=0.6, marker=marker, markersize=4, label=name)
        for name, marker in zip(names[1:], cycle(_MARKERS), strict=False)
    ]
    position: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, top), "ncols": columns}
    figure.legend(handles=[first, *overlaid], fontsize=SMALL, frameon=False, **position)


def compare(histories: Mapping[str, Lines], names: Sequence[str] = ("knn", "probe")) -> Figure:
    """Plot metrics of several runs against the number of views, one panel per metric.

    Args:
        histories: Lines of history by run name, such as "codial/photos"; a run with a single measurement (random
            weights) becomes a horizontal line.
        names: Names of the metrics.
    """
    figure = new_figure(4.5 * len(names), 3.5)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        curve_axes(axes)
        for method, lines in histories.items():
            _draw_run(axes, method, [(line["views"], line[name]) for line in lines if name in line])
        axes.set_title(
            {"knn": "knn on the last layer (%)", "probe": "linear probe on the last maps (%)"}.get(name, name),
            fontsize=TITLE,
        )
        axes.set_xlabel("views", fontsize=LABEL)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=SMALL, frameon=False, loc="outside lower center", ncols=4)
    return figure


def _draw_run(axes: Axes, method: str, points: Sequence[tuple[float, float]]) -> None:
    color = COLORS.get(method.split("/")[0], GRAY)
    if len(points) == 1:
        axes.axhline(points[0][1], color=color, linestyle="--", label=method)
    elif points:
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=4, label=method)
