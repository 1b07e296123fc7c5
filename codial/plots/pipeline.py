"""An overview of CODIAL on a real image, with the content of the paper's Figure 2."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from torch import Tensor

from codial.models.alexnet import LAYERS
from codial.plots.style import BLACK, BLUE, GRAY, GREEN, LABEL, PALETTE, SMALL, TITLE, new_figure, pixels
from codial.plots.transforms import NAMES, short_name

_WIDTH, _HEIGHT = 15.0, 7.2  # of the drawing, in its own units
_MIDDLE = _HEIGHT / 2 + 0.15


def pipeline(image: Tensor, views: Mapping[str, Tensor], layers: Sequence[str] = LAYERS) -> Figure:
    """Draw an image, its transformed views, the shared backbone, the classifier, and the critic on all pairs of views.

    Args:
        image: [3, H, W] uint8 or float in [0, 1].
        views: [3, S, S] each, by the name of the transform, in the order of the classes.
        layers: Names of the backbone's layers, by default AlexNet's as in the paper.
    """
    figure = new_figure(_WIDTH * 0.75, _HEIGHT * 0.75, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, _HEIGHT)
    heights = [_MIDDLE + 1.25 * (len(views) / 2 - 0.5 - index) for index in range(len(views))]
    _draw_image(axes, image, 1.1, _MIDDLE, 1.7, BLACK)
    axes.text(1.1, _MIDDLE - 1.15, "an unlabeled image", ha="center", va="top", fontsize=SMALL)
    for (name, view), y, color in zip(views.items(), heights, PALETTE, strict=False):
        _draw_arrow(axes, (2.0, _MIDDLE), (3.05, y), GRAY)
        _draw_image(axes, view, 3.6, y, 1.0, color)
        axes.text(3.6, y - 0.53, NAMES.get(name, name), ha="center", va="top", fontsize=SMALL - 0.5)
        _draw_arrow(axes, (4.25, y), (5.75, _MIDDLE + 0.35 * (y - _MIDDLE)), color)
    axes.text(3.6, 0.12, "each view has its own crop and color jitter", ha="center", fontsize=SMALL)
    _draw_backbone(axes, layers)
    _draw_classifier(axes, list(views))
    _draw_critic(axes, len(views))
    return figure


def _draw_image(axes: Axes, image: Tensor, x: float, y: float, side: float, color: str) -> None:
    half = side / 2
    axes.imshow(pixels(image), extent=(x - half, x + half, y - half, y + half), interpolation="bilinear", zorder=2)
    axes.add_patch(_box(x - half, y - half, side, side, color))
    axes.set_aspect("equal")
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, _HEIGHT)


def _box(x: float, y: float, width: float, height: float, color: str, facecolor: str = "none") -> FancyBboxPatch:
    style: Any = {"facecolor": facecolor, "linewidth": 1.6, "zorder": 3, "boxstyle": "round,pad=0.02"}
    return FancyBboxPatch((x, y), width, height, edgecolor=color, **style)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0})


def _draw_backbone(axes: Axes, layers: Sequence[str]) -> None:
    """Draw the shared network, its layers as slabs of decreasing height."""
    for index, name in enumerate(layers):
        x = 5.9 + 0.36 * index
        half = 1.3 - 0.12 * index
        corners = [(x, _MIDDLE - half), (x + 0.28, _MIDDLE - half + 0.08), (x + 0.28, _MIDDLE + half - 0.08)]
        axes.add_patch(Polygon([*corners, (x, _MIDDLE + half)], facecolor=GRAY, edgecolor="white", alpha=0.75))
        axes.text(x + 0.14, _MIDDLE, name, rotation=90, ha="center", va="center", fontsize=SMALL - 1, color="white")
    axes.text(7.1, _MIDDLE + 1.5, "shared backbone", ha="center", fontsize=LABEL)
    for y in (5.6, 2.0):
        _draw_arrow(axes, (8.5, _MIDDLE), (9.25, y), BLACK)


def _draw_classifier(axes: Axes, names: list[str]) -> None:
    """Draw the head that classifies the transforms."""
    axes.add_patch(_box(9.35, 4.55, 5.2, 2.3, BLUE))
    axes.text(9.55, 6.45, "classifier: which transform?", fontsize=TITLE, color=BLUE)
    for index, (name, color) in enumerate(zip(names, PALETTE, strict=False)):
        x = 9.95 + 0.98 * index
        axes.add_patch(_box(x - 0.12, 5.25, 0.24, 0.85, color, facecolor=color))
        axes.text(x, 5.05, short_name(name), ha="center", va="top", fontsize=SMALL - 0.5)
    axes.text(14.5, 4.2, "discrimination: cross-entropy, $L_{cls}$", ha="right", fontsize=LABEL)


def _draw_critic(axes: Axes, count: int) -> None:
    """Draw the stochastic head and the pairs of views whose codes the critic scores."""
    axes.add_patch(_box(9.35, 0.75, 5.2, 3.0, GREEN))
    axes.text(9.55, 3.35, "critic: same image or not?", fontsize=TITLE, color=GREEN)
    axes.text(9.6, 1.95, "each view's code\n$z \\sim N(\\mu, \\sigma)$", va="center", fontsize=LABEL)
    positions = [(13.2, 1.05 + 0.5 * index) for index in range(count)]
    for index, (first, second) in enumerate(combinations(positions, 2)):
        arc = {"arrowstyle": "-", "color": GREEN, "connectionstyle": f"arc3,rad={0.5 if index % 2 else -0.5}"}
        axes.annotate("", first, second, arrowprops=arc | {"alpha": 0.7}, gid="pair")
    for (x, y), color in zip(reversed(positions), PALETTE, strict=False):
        axes.plot(x, y, "o", color=color, markersize=9, zorder=4)
    axes.text(11.6, 1.0, f"{count * (count - 1) // 2} pairs", fontsize=LABEL, color=GREEN)
    text = "alignment: Jensen-Shannon bound and bottleneck, $L_{mi}$"
    axes.text(14.5, 0.35, text, ha="right", fontsize=LABEL)
