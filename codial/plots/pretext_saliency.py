"""The views of one image, with a run's predicted transform and saliency map for each."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from codial.config import ViewsConfig
from codial.evaluate import Prediction
from codial.plots.style import BLACK, COLORS, GRAY, SKY, SMALL, TICKS, new_figure, show_image
from codial.plots.transforms import NAMES, view_row
from codial.transforms import Views

_COLUMN, _GAP = 1.63, 0.16  # inches
# Inches above, of and below the rows of views, saliency maps and bars.
_ROWS = ((0.25, 1.47, 1.1), (0.0, 1.47, 0.08), (0.2, 0.9, 0.05))
_DIM = 0.35  # brightness of an image where its saliency is 0


def sampled_views(
    image: Tensor,
    views: Views,
    config: ViewsConfig,
    prediction: Prediction | None = None,
    *,
    run_name: str = "",
    arrows: bool = True,
) -> Figure:
    """Draw an image with its crop boxes and its K views; with a prediction, also saliency maps and probabilities.

    Args:
        image: [3, H, W] uint8 or float in [0, 1].
        views: Views of this image only.
        config: The configuration they were sampled with.
        prediction: A run's prediction for these K views, in their order.
        run_name: Name of that run.
        arrows: Whether to draw the warp's control points and offsets on the warped view.
    """
    figure, rows = _cells(1 + len(config.primary), _ROWS if prediction else _ROWS[:1])
    view_row(rows[0], image, views, 0, config, arrows)
    if prediction:
        _label_rows(rows[1:, 0], prediction, run_name)
        for k, name in enumerate(config.primary):
            _draw_saliency(rows[1, k + 1], views.images[0, k], prediction.saliency[k])
            _draw_bars(rows[2, k + 1], prediction, k, name)
    return figure


def _cells(columns: int, rows: Sequence[tuple[float, float, float]]) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, [rows, columns], in a fixed layout that does not depend on their text."""
    width, height = max(columns, 4) * _COLUMN, sum(map(sum, rows))
    figure, axes, top = new_figure(width, height, constrained=False), [], height
    for above, inside, below in rows:
        top -= above + inside
        lefts = [_GAP / 2 + column * _COLUMN for column in range(columns)]
        size = (_COLUMN - _GAP) / width, inside / height
        axes.append([figure.add_axes((left / width, top / height, *size)) for left in lefts])
        top -= below
    return figure, np.array(axes, dtype=object)


def _label_rows(cells: np.ndarray, prediction: Prediction, run_name: str) -> None:
    """Label the rows and the bars' classes in the first column."""
    for axes in cells:
        axes.set_axis_off()
    text = f"saliency of\n{run_name or 'the run'}:\nevidence for the\npredicted class"
    cells[0].text(0, 0.5, text, fontsize=SMALL, va="center", transform=cells[0].transAxes)
    cells[1].set_ylim(len(prediction.names) - 0.4, -0.6)
    for row, name in enumerate(prediction.names):
        cells[1].text(1, row, NAMES.get(name, name), fontsize=SMALL, ha="right", va="center")


def _draw_saliency(axes: Axes, view: Tensor, saliency: Tensor) -> None:
    """Draw a view, [3, S, S], dimmed where its saliency, [S, S] in [0, 1], is low, with a contour at 0.5."""
    show_image(axes, view * (_DIM + (1 - _DIM) * saliency))
    if bool((saliency > 0).any()):
        axes.contour(saliency.numpy(), levels=[0.5], colors=[SKY], linewidths=1)


def _draw_bars(axes: Axes, prediction: Prediction, k: int, name: str) -> None:
    """Draw each class's probability; the bar of the view's true class has a black edge."""
    outcome, values = prediction.outcome(k, name), prediction.probabilities[k].tolist()
    color = COLORS.get(outcome, GRAY)
    edges = [BLACK if each == name else "none" for each in prediction.names]
    axes.barh(range(len(values)), values, color=color, edgecolor=edges, linewidth=1.4, height=0.8)
    axes.axvline(1 / len(values), color=GRAY, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    top = prediction.top_class(k)
    axes.set_title(f"{TICKS[outcome]}{NAMES.get(top, top)} {100 * max(values):.0f} %", fontsize=SMALL, color=color)
