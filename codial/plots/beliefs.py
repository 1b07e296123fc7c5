"""The views of one picture as the network gets them, and beneath each what a run makes of it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from codial.config import ViewsConfig
from codial.evaluate import Belief
from codial.plots.style import BLACK, COLOURS, GREY, SKY, SMALL, TICKS, new_figure, show_picture
from codial.plots.views import NAMES, view_row
from codial.views import Views

_COLUMN, _GAP = 1.63, 0.16  # inches
_ROWS = ((0.25, 1.47, 1.1), (0.0, 1.47, 0.08), (0.2, 0.9, 0.05))  # inches above, of and below views, places and bars
_DIM = 0.35  # of a picture's light where the network doesn't look


def drawn_views(
    picture: Tensor,
    views: Views,
    config: ViewsConfig,
    belief: Belief | None = None,
    *,
    who: str = "",
    arrows: bool = True,
) -> Figure:
    """Show a picture with its crop boxes and its K views; with a belief, where the run looks and what it believes.

    Args:
        picture: [3, H, W] uint8 or float in [0, 1].
        views: of this picture alone.
        config: what they were drawn with.
        belief: about these K views, in their order.
        who: believes so.
        arrows: show the warp's control points and their offsets on the warped view.
    """
    figure, rows = _cells(1 + len(config.primary), _ROWS if belief else _ROWS[:1])
    view_row(rows[0], picture, views, 0, config, arrows)
    if belief:
        _name_rows(rows[1:, 0], belief, who)
        for k, name in enumerate(config.primary):
            _show_places(rows[1, k + 1], views.images[0, k], belief.places[k])
            _show_bars(rows[2, k + 1], belief, k, name)
    return figure


def _cells(columns: int, rows: Sequence[tuple[float, float, float]]) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, [rows, columns], laid out by hand: the same however much is written in it."""
    width, height = max(columns, 4) * _COLUMN, sum(map(sum, rows))
    figure, axes, top = new_figure(width, height, own_layout=False), [], height
    for above, inside, below in rows:
        top -= above + inside
        places = [_GAP / 2 + column * _COLUMN for column in range(columns)]
        part = (_COLUMN - _GAP) / width, inside / height
        axes.append([figure.add_axes((left / width, top / height, *part)) for left in places])
        top -= below
    return figure, np.array(axes, dtype=object)


def _name_rows(places: np.ndarray, belief: Belief, who: str) -> None:
    """Say in the first column what the rows are, and which bar is which class."""
    for axes in places:
        axes.set_axis_off()
    words = f"where {who or 'it'}\nlooks: bright places\nspeak for its belief"
    places[0].text(0, 0.5, words, fontsize=SMALL, va="center", transform=places[0].transAxes)
    places[1].set_ylim(len(belief.names) - 0.4, -0.6)
    for place, name in enumerate(belief.names):
        places[1].text(1, place, NAMES.get(name, name), fontsize=SMALL, ha="right", va="center")


def _show_places(axes: Axes, view: Tensor, places: Tensor) -> None:
    """Show a view, [3, S, S], dimmed where places, [S, S] in [0, 1], do not count; a line runs at half."""
    show_picture(axes, view * (_DIM + (1 - _DIM) * places))
    if bool((places > 0).any()):
        axes.contour(places.numpy(), levels=[0.5], colors=[SKY], linewidths=1)


def _show_bars(axes: Axes, belief: Belief, k: int, name: str) -> None:
    """Draw each class's probability; the view's own class has a black edge."""
    verdict, values = belief.verdict(k, name), belief.probabilities[k].tolist()
    colour = COLOURS.get(verdict, GREY)
    edges = [BLACK if each == name else "none" for each in belief.names]
    axes.barh(range(len(values)), values, color=colour, edgecolor=edges, linewidth=1.4, height=0.8)
    axes.axvline(1 / len(values), color=GREY, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    said = belief.said(k)
    axes.set_title(f"{TICKS[verdict]}{NAMES.get(said, said)} {100 * max(values):.0f} %", fontsize=SMALL, color=colour)
