"""CODIAL at a glance, on a real picture: the subject of the paper's Figure 2, drawn anew."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from torch import Tensor

from codial.plots.style import BLACK, BLUE, GREEN, GREY, LABEL, PALETTE, SMALL, TITLE, new_figure, pixels
from codial.plots.views import NAMES

_WIDTH, _HEIGHT = 15.0, 7.2  # of the drawing, in its own units
_MIDDLE = _HEIGHT / 2 + 0.15


def pipeline(picture: Tensor, views: Mapping[str, Tensor]) -> Figure:
    """Draw a picture's way: its transformed views, the trunk they share, the classifier, and the critic on all pairs.

    Args:
        picture: [3, H, W] uint8 or float in [0, 1].
        views: by the name of the transform, [3, S, S] each, in the order of their classes.
    """
    figure = new_figure(_WIDTH * 0.75, _HEIGHT * 0.75, own_layout=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, _HEIGHT)
    heights = [_MIDDLE + 1.25 * (len(views) / 2 - 0.5 - place) for place in range(len(views))]
    _tile(axes, picture, 1.1, _MIDDLE, 1.7, BLACK)
    axes.text(1.1, _MIDDLE - 1.15, "a picture,\nits label unknown", ha="center", va="top", fontsize=SMALL)
    for (name, view), y, colour in zip(views.items(), heights, PALETTE, strict=False):
        _arrow(axes, (2.0, _MIDDLE), (3.05, y), GREY)
        _tile(axes, view, 3.6, y, 1.0, colour)
        axes.text(4.2, y, NAMES.get(name, name), va="center", fontsize=SMALL)
        _arrow(axes, (5.15, y), (5.75, _MIDDLE + 0.35 * (y - _MIDDLE)), colour)
    axes.text(3.6, 0.12, "crop and colours of each view are its own", ha="center", fontsize=SMALL)
    _trunk(axes)
    _classifier(axes, list(views))
    _critic(axes, len(views))
    return figure


def _tile(axes: Axes, picture: Tensor, x: float, y: float, side: float, colour: str) -> None:
    half = side / 2
    axes.imshow(pixels(picture), extent=(x - half, x + half, y - half, y + half), interpolation="bilinear", zorder=2)
    axes.add_patch(_box(x - half, y - half, side, side, colour))
    axes.set_aspect("equal")
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, _HEIGHT)


def _box(x: float, y: float, width: float, height: float, colour: str, facecolor: str = "none") -> FancyBboxPatch:
    style: Any = {"facecolor": facecolor, "linewidth": 1.6, "zorder": 3, "boxstyle": "round,pad=0.02"}
    return FancyBboxPatch((x, y), width, height, edgecolor=colour, **style)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0})


def _trunk(axes: Axes) -> None:
    """Draw the shared network, its layers as ever narrower slabs."""
    for place, name in enumerate(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")):
        x, reach = 5.9 + 0.36 * place, 1.3 - 0.12 * place
        corners = [(x, _MIDDLE - reach), (x + 0.28, _MIDDLE - reach + 0.08), (x + 0.28, _MIDDLE + reach - 0.08)]
        axes.add_patch(Polygon([*corners, (x, _MIDDLE + reach)], facecolor=GREY, edgecolor="white", alpha=0.75))
        axes.text(x + 0.14, _MIDDLE, name, rotation=90, ha="center", va="center", fontsize=SMALL - 1, color="white")
    axes.text(7.1, _MIDDLE + 1.5, "one trunk for all views", ha="center", fontsize=LABEL)
    for y in (5.6, 2.0):
        _arrow(axes, (8.5, _MIDDLE), (9.25, y), BLACK)


def _classifier(axes: Axes, names: list[str]) -> None:
    """Draw the head that tells the transforms apart."""
    axes.add_patch(_box(9.35, 4.55, 5.2, 2.3, BLUE))
    axes.text(9.55, 6.45, "classifier: which transform was it?", fontsize=TITLE, color=BLUE)
    for place, (name, colour) in enumerate(zip(names, PALETTE, strict=False)):
        x = 9.95 + 0.98 * place
        axes.add_patch(_box(x - 0.12, 5.25, 0.24, 0.85, colour, facecolor=colour))
        axes.text(x, 5.05, NAMES.get(name, name), ha="center", va="top", fontsize=SMALL - 0.5)
    axes.text(14.5, 4.2, "discrimination: cross-entropy, $L_{cls}$", ha="right", fontsize=LABEL)


def _critic(axes: Axes, count: int) -> None:
    """Draw the stochastic head, and the pairs of views whose codes the critic is asked about."""
    axes.add_patch(_box(9.35, 0.75, 5.2, 3.0, GREEN))
    axes.text(9.55, 3.35, "critic: are two codes of one picture?", fontsize=TITLE, color=GREEN)
    axes.text(9.6, 1.95, "each view's code\n$z \\sim N(\\mu, \\sigma)$", va="center", fontsize=LABEL)
    places = [(13.2, 1.05 + 0.5 * place) for place in range(count)]
    for place, (one, other) in enumerate(combinations(places, 2)):
        arc = {"arrowstyle": "-", "color": GREEN, "connectionstyle": f"arc3,rad={0.5 if place % 2 else -0.5}"}
        axes.annotate("", one, other, arrowprops=arc | {"alpha": 0.7}, gid="pair")
    for (x, y), colour in zip(reversed(places), PALETTE, strict=False):
        axes.plot(x, y, "o", color=colour, markersize=9, zorder=4)
    pairs = count * (count - 1) // 2
    axes.text(11.6, 1.0, f"{pairs} pairs", fontsize=LABEL, color=GREEN)
    told = "alignment: Jensen-Shannon bound and bottleneck, $L_{mi}$"
    axes.text(14.5, 0.35, told, ha="right", fontsize=LABEL)
