"""Pictures of views: what was drawn beside what came of it. Parameters are printed as they were drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from codial.config import ViewsConfig
from codial.plots.style import (
    BLACK,
    BLUE,
    LABEL,
    PALETTE,
    SKY,
    SMALL,
    TITLE,
    VERMILION,
    frame,
    new_figure,
    show_picture,
    show_pictures,
)
from codial.views import Drawn, Views, control_points, render, rotate, warp, warp_flow
from codial.views.chosen import by_hand
from codial.views.colour import OPERATIONS

NAMES = {"turn0": "0° turn", "turn90": "90° turn", "turn180": "180° turn", "turn270": "270° turn", "warp": "warp"}


def view_grid(pictures: Tensor, views: Views, config: ViewsConfig) -> Figure:
    """Show each picture with its crop boxes, then its views, and beneath each view all that was drawn for it.

    Args:
        pictures: [B, 3, H, W] uint8.
        views: of these pictures.
        config: what they were drawn with.
    """
    rows, columns = len(pictures), 1 + len(config.primary)
    figure = new_figure(1.62 * columns, 2.7 * rows)
    places = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        view_row(places[row], pictures[row], views, row, config)
    return figure


def view_row(
    places: Sequence[Axes] | np.ndarray,
    picture: Tensor,
    views: Views,
    row: int,
    config: ViewsConfig,
    arrows: bool = False,
) -> None:
    """Fill 1 + K axes: a picture with its crop boxes, then its views, and beneath each all that was drawn for it.

    Args:
        places: the axes.
        picture: [3, H, W] uint8 or float in [0, 1].
        views: of a batch with this picture.
        row: the picture's place in the batch.
        config: what they were drawn with.
        arrows: show on the warped view from each control point to where it looks.
    """
    _show_boxes(places[0], picture, views.drawn, row)
    for k, name in enumerate(config.primary):
        axes = show_picture(places[k + 1], views.images[row, k], NAMES[name])
        frame(axes, PALETTE[k % len(PALETTE)], 2)
        _print_beneath(axes, describe(views.drawn, row, k, picture.shape[-2:], config))
        if arrows and name == "warp":
            draw_arrows(axes, views.drawn.points[row], views.drawn.offsets[row])


def _show_boxes(axes: Axes, picture: Tensor, drawn: Drawn, row: int) -> None:
    show_picture(axes, picture, "picture and its crops")
    for k, box in enumerate(drawn.box[row].tolist()):
        _draw_box(axes, box, PALETTE[k % len(PALETTE)])
    _print_beneath(axes, ["mirrored" if drawn.flip[row] else "not mirrored"])


def _draw_box(axes: Axes, box: Sequence[float], colour: str) -> None:
    """Draw a crop box (left, top, width, height), measured from the first pixel's outer corner."""
    left, top, width, height = box
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=2))


def _print_beneath(axes: Axes, lines: Iterable[str]) -> None:
    axes.set_xlabel("\n".join(lines), fontsize=SMALL, loc="left", linespacing=1.25)


def describe(drawn: Drawn, row: int, k: int, picture: Sequence[int], config: ViewsConfig) -> list[str]:
    """Return in words what was drawn for view k of a picture, colours in the order in which they are changed."""
    width, height = drawn.box[row, k, 2:].tolist()
    lines = [f"crop {100 * width * height / (picture[0] * picture[1]):.0f} %, {width / height:.2f} : 1"]
    for place in drawn.order[row, k].tolist():
        name, value = OPERATIONS[place], float(drawn.factors[row, k, place])
        if getattr(config, name):
            lines.append(f"{name} {value:+.2f} turns" if name == "hue" else f"{name} × {value:.2f}")
    if drawn.sigma[row, k] > 0:
        lines.append(f"blur {float(drawn.sigma[row, k]):.2f} px")
    if config.primary[k] == "warp":
        lines.append(f"warp up to {float(drawn.offsets[row].norm(dim=-1).max()):.1f} px")
    return lines


def quarter_turns(picture: Tensor) -> Figure:
    """Show a square picture, [3, S, S], under the four quarter turns, counter-clockwise."""
    turned = rotate(picture.unsqueeze(0).repeat(4, 1, 1, 1), torch.arange(4))
    figure = new_figure(8, 2.4)
    axes = figure.subplots(1, 4)
    show_pictures(axes, turned, [f"{NAMES[f'turn{90 * k}']} (class {k + 1})" for k in range(4)])
    return figure


def warp_steps(picture: Tensor, offsets: Tensor) -> Figure:
    """Show how a warp comes about: control points and offsets, where the new picture looks, and the new picture.

    Args:
        picture: [3, S, S] uint8 or float in [0, 1].
        offsets: [16, 2] float (dx, dy) in pixels.
    """
    size = picture.shape[-1]
    points, moved = control_points(size).float(), control_points(size).float() + offsets
    warped = warp(_as_float(picture).unsqueeze(0), offsets.unsqueeze(0))[0]
    figure = new_figure(10, 3.6)
    left, middle, right = figure.subplots(1, 3)
    show_picture(left, picture, "16 control points, each with its offset")
    draw_arrows(left, points, offsets)
    show_picture(middle, picture, "where the warped picture's grid looks")
    _draw_looked_at(middle, offsets, size)
    middle.scatter(moved[:, 0], moved[:, 1], s=16, color=VERMILION, zorder=3)
    show_picture(right, warped, "the warped picture")
    right.scatter(points[:, 0], points[:, 1], s=16, color=VERMILION, zorder=3)
    for axes in (left, middle, right):
        _leave_margin(axes, size)
        axes.title.set_fontsize(LABEL)
    return figure


def draw_arrows(axes: Axes, points: Tensor, offsets: Tensor) -> None:
    """Draw control points (x, y), [16, 2], and an arrow from each along its offset (dx, dy), in pixels."""
    start = points[:, 0], points[:, 1]
    head: Any = {"width": 0.012, "headwidth": 3.2, "headlength": 3.5, "headaxislength": 3}
    whole: Any = {"clip_on": False, "in_layout": False}  # arrows may reach out of the picture, and nothing gives way
    edge: Any = {"color": VERMILION, "edgecolor": "white", "linewidth": 0.5}
    axes.quiver(*start, *offsets.T, angles="xy", scale_units="xy", scale=1, zorder=3, **edge, **head, **whole)
    axes.scatter(*start, s=12, color=BLACK, edgecolors="white", linewidths=0.6, zorder=4, **whole)


def _draw_looked_at(axes: Axes, offsets: Tensor, size: int, lines: int = 13) -> None:
    """Draw the places that a regular grid of lines in the warped picture shows."""
    flow = warp_flow(offsets.unsqueeze(0), size)[0]  # [S, S, 2] (dx, dy)
    ticks = torch.arange(size, dtype=torch.float32)
    x, y = ticks.view(1, -1) + flow[..., 0], ticks.view(-1, 1) + flow[..., 1]
    for at in torch.linspace(0, size - 1, lines).round().long().tolist():
        axes.plot(x[at], y[at], color=SKY, linewidth=1.1)
        axes.plot(x[:, at], y[:, at], color=SKY, linewidth=1.1)


def _leave_margin(axes: Axes, size: int, part: float = 0.13) -> None:
    axes.set_xlim(-part * size, (1 + part) * size)
    axes.set_ylim((1 + part) * size, -part * size)


def _as_float(picture: Tensor) -> Tensor:
    return picture if picture.is_floating_point() else picture.float() / 255


def auxiliary_transforms(picture: Tensor, config: ViewsConfig) -> Figure:
    """Show each auxiliary transform alone, from one end of what `config` draws to the other.

    Args:
        picture: [3, H, W] uint8 or float in [0, 1].
        config: the ranges; of those that are switched off, the paper's are shown.
    """
    rows = _auxiliary_rows(config)
    columns = max(len(settings) for _, settings in rows)
    figure = new_figure(1.3 * columns + 1.2, 1.5 * len(rows))
    places = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, settings) in zip(places, rows, strict=True):
        views = [one_view(picture, config, **chosen) for _, chosen in settings]
        show_pictures(axes, torch.stack(views), [caption for caption, _ in settings])
        axes[0].set_ylabel(name, fontsize=LABEL, rotation=0, ha="right", va="center", labelpad=8)
    return figure


Setting = tuple[str, dict[str, Any]]  # a caption, and what it changes


def _auxiliary_rows(config: ViewsConfig) -> list[tuple[str, list[Setting]]]:
    low, high = config.crop_area
    areas = [low + (high - low) * part for part in (0, 0.25, 0.5, 0.75, 1)]
    narrow, wide = config.crop_aspect
    aspects = [narrow * (wide / narrow) ** part for part in (0, 0.25, 0.5, 0.75, 1)]
    sigmas = [config.blur_sigma[0] + (config.blur_sigma[1] - config.blur_sigma[0]) * i / 4 for i in range(5)]
    rows: list[tuple[str, list[Setting]]] = [
        ("crop: area", [(f"{100 * area:.0f} %", {"area": area}) for area in areas]),
        ("crop: aspect", [(f"{a:.2f} : 1", {"area": 0.5, "aspect": a}) for a in aspects]),
        ("mirror", [("no", {}), ("yes", {"flip": True})]),
    ]
    rows += [(name, _colour_settings(place, getattr(config, name) or 0.5)) for place, name in enumerate(OPERATIONS)]
    return [*rows, ("blur", [(f"σ {sigma:.2f} px", {"sigma": sigma}) for sigma in sigmas])]


def _colour_settings(place: int, reach: float) -> list[Setting]:
    """Return five settings of one colour operation, from the least to the most that may be drawn."""
    settings = []
    for part in (-1, -0.5, 0, 0.5, 1):
        factors = [1.0, 1.0, 1.0, 0.0]
        factors[place] += part * reach
        value = factors[place]
        caption = f"{value:+.2f} turns" if OPERATIONS[place] == "hue" else f"× {value:.2f}"
        settings.append((caption, {"factors": factors}))
    return settings


def one_view(picture: Tensor, config: ViewsConfig, primary: str = "turn0", **chosen: Any) -> Tensor:
    """Return one view, [3, S, S] float in [0, 1], with parameters chosen by hand.

    Args:
        picture: [3, H, W] uint8 or float in [0, 1].
        config: gives the view's size and the blur's kernel.
        primary: name of the primary transform.
        **chosen: as `codial.views.chosen.by_hand` takes them.
    """
    height, width = picture.shape[-2:]
    drawn = by_hand((height, width), config.size, **chosen)
    shown = replace(config, primary=(primary,), blur=1.0, brightness=1.0)  # whatever is chosen is done
    return render(picture.unsqueeze(0), drawn, shown).images[0, 0]


def stages(
    picture: Tensor,
    box: Sequence[float],
    steps: Sequence[tuple[str, Tensor]],
    notes: Sequence[str],
    offsets: Tensor | None = None,
) -> Figure:
    """Show a picture with its crop box, and the view after each stage on its way.

    Args:
        picture: [3, H, W] uint8 or float in [0, 1].
        box: (left, top, width, height) in picture pixels.
        steps: name of each stage and the view after it, [3, S, S].
        notes: a line beneath each stage.
        offsets: of the last stage's warp, [16, 2] (dx, dy) in pixels, shown as arrows from its control points.
    """
    figure = new_figure(2.0 * (1 + len(steps)), 2.4)
    first, *others = figure.subplots(1, 1 + len(steps))
    show_picture(first, picture)
    first.set_title("picture", fontsize=TITLE)
    _draw_box(first, box, BLUE)
    for axes, (name, view), note in zip(others, steps, notes, strict=True):
        show_picture(axes, view)
        axes.set_title(name, fontsize=TITLE)
        axes.set_xlabel(note, fontsize=SMALL - 0.5)
    if offsets is not None:
        draw_arrows(others[-1], control_points(steps[-1][1].shape[-1]).float(), offsets)
    return figure
