"""Figures of views and of the transforms that produce them, with the sampled parameters as captions."""

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
    show_image,
    show_images,
)
from codial.transforms import ViewParams, Views, control_points, render, rotate, warp, warp_flow
from codial.transforms.color_jitter import OPERATIONS
from codial.transforms.manual import manual_params

NAMES = {f"rot{angle}": f"rotation {angle}°" for angle in (0, 90, 180, 270)} | {"warp": "warp"}


_STEPS = (0, 0.25, 0.5, 0.75, 1)  # through a range


def short_name(name: str) -> str:
    """Return a transform's name for narrow labels, such as "90°"."""
    return NAMES.get(name, name).removeprefix("rotation ")


def view_grid(images: Tensor, views: Views, config: ViewsConfig) -> Figure:
    """Draw each image with its crop boxes, then its views with their sampled parameters.

    Args:
        images: [B, 3, H, W] uint8.
        views: Views of these images.
        config: The configuration they were sampled with.
    """
    rows, columns = len(images), 1 + len(config.primary)
    figure = new_figure(1.62 * columns, 2.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        view_row(grid[row], images[row], views, row, config)
    return figure


def view_row(
    cells: Sequence[Axes] | np.ndarray,
    image: Tensor,
    views: Views,
    row: int,
    config: ViewsConfig,
    arrows: bool = False,
) -> None:
    """Draw an image with its crop boxes and its K views with their sampled parameters in 1 + K axes.

    Args:
        cells: The axes.
        image: [3, H, W] uint8 or float in [0, 1].
        views: Views of a batch with this image.
        row: Index of the image in the batch.
        config: The configuration they were sampled with.
        arrows: Whether to draw the warp's control points and offsets on the warped view.
    """
    _draw_boxes(cells[0], image, views.params, row)
    for k, name in enumerate(config.primary):
        axes = show_image(cells[k + 1], views.images[row, k], NAMES[name])
        frame(axes, PALETTE[k % len(PALETTE)], 2)
        _caption(axes, describe(views.params, row, k, image.shape[-2:], config))
        if arrows and name == "warp":
            draw_arrows(axes, views.params.points[row], views.params.offsets[row])


def _draw_boxes(axes: Axes, image: Tensor, params: ViewParams, row: int) -> None:
    show_image(axes, image, "image and crops")
    for k, box in enumerate(params.box[row].tolist()):
        _draw_box(axes, box, PALETTE[k % len(PALETTE)])
    _caption(axes, ["flipped" if params.flip[row] else "not flipped"])


def _draw_box(axes: Axes, box: Sequence[float], color: str) -> None:
    """Draw a crop box (left, top, width, height), relative to the outer corner of the first pixel."""
    left, top, width, height = box
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=color, linewidth=2))


def _caption(axes: Axes, lines: Iterable[str]) -> None:
    axes.set_xlabel("\n".join(lines), fontsize=SMALL, loc="left", linespacing=1.25)


def describe(params: ViewParams, row: int, k: int, image: Sequence[int], config: ViewsConfig) -> list[str]:
    """Return captions of the parameters of view k of an image, color operations in the order they are applied in."""
    width, height = params.box[row, k, 2:].tolist()
    lines = [f"crop {100 * width * height / (image[0] * image[1]):.0f} %, {width / height:.2f} : 1"]
    for index in params.order[row, k].tolist():
        name, value = OPERATIONS[index], float(params.factors[row, k, index])
        if getattr(config, name):
            lines.append(f"hue shift {value:+.2f}" if name == "hue" else f"{name} × {value:.2f}")
    if params.sigma[row, k] > 0:
        lines.append(f"blur {float(params.sigma[row, k]):.2f} px")
    if config.primary[k] == "warp":
        lines.append(f"warp up to {float(params.offsets[row].norm(dim=-1).max()):.1f} px")
    return lines


def rotations(image: Tensor) -> Figure:
    """Draw a square image, [3, S, S], rotated counter-clockwise by multiples of 90 degrees."""
    rotated = rotate(image.unsqueeze(0).repeat(4, 1, 1, 1), torch.arange(4))
    figure = new_figure(8, 2.4)
    axes = figure.subplots(1, 4)
    show_images(axes, rotated, [f"{NAMES[f'rot{90 * k}']} (class {k + 1})" for k in range(4)])
    return figure


def warp_steps(image: Tensor, offsets: Tensor) -> Figure:
    """Draw the steps of a warp: control points with offsets, the sampling grid, and the warped image.

    Args:
        image: [3, S, S] uint8 or float in [0, 1].
        offsets: [16, 2] float (dx, dy) in pixels.
    """
    size = image.shape[-1]
    points = control_points(size).float()
    moved = points + offsets
    warped = warp(_as_float(image).unsqueeze(0), offsets.unsqueeze(0))[0]
    figure = new_figure(10, 3.6)
    left, middle, right = figure.subplots(1, 3)
    show_image(left, image, "16 control points and offsets")
    draw_arrows(left, points, offsets)
    show_image(middle, image, "sampling grid of the warped image")
    _draw_sampling_grid(middle, offsets, size)
    middle.scatter(moved[:, 0], moved[:, 1], s=16, color=VERMILION, zorder=3)
    show_image(right, warped, "warped image")
    right.scatter(points[:, 0], points[:, 1], s=16, color=VERMILION, zorder=3)
    for axes in (left, middle, right):
        _add_margin(axes, size)
        axes.title.set_fontsize(LABEL)
    return figure


def draw_arrows(axes: Axes, points: Tensor, offsets: Tensor) -> None:
    """Draw control points (x, y), [16, 2], with arrows along their offsets (dx, dy), in pixels."""
    x, y = points.T
    head: Any = {"width": 0.012, "headwidth": 3.2, "headlength": 3.5, "headaxislength": 3}
    outside: Any = {"clip_on": False, "in_layout": False}  # arrows may reach out of the image without moving the layout
    edge: Any = {"color": VERMILION, "edgecolor": "white", "linewidth": 0.5}
    axes.quiver(x, y, *offsets.T, angles="xy", scale_units="xy", scale=1, zorder=3, **edge, **head, **outside)
    axes.scatter(x, y, s=12, color=BLACK, edgecolors="white", linewidths=0.6, zorder=4, **outside)


def _draw_sampling_grid(axes: Axes, offsets: Tensor, size: int, lines: int = 13) -> None:
    """Draw where a regular grid of lines in the warped image is sampled from."""
    flow = warp_flow(offsets.unsqueeze(0), size)[0]  # [S, S, 2] (dx, dy)
    ticks = torch.arange(size, dtype=torch.float32)
    x = ticks.view(1, -1) + flow[..., 0]
    y = ticks.view(-1, 1) + flow[..., 1]
    for line in torch.linspace(0, size - 1, lines).round().long().tolist():
        axes.plot(x[line], y[line], color=SKY, linewidth=1.1)
        axes.plot(x[:, line], y[:, line], color=SKY, linewidth=1.1)


def _add_margin(axes: Axes, size: int, margin: float = 0.13) -> None:
    axes.set_xlim(-margin * size, (1 + margin) * size)
    axes.set_ylim((1 + margin) * size, -margin * size)


def _as_float(image: Tensor) -> Tensor:
    return image if image.is_floating_point() else image.float() / 255


def auxiliary_transforms(image: Tensor, config: ViewsConfig) -> Figure:
    """Draw each auxiliary transform separately, from one end of its range to the other.

    Args:
        image: [3, H, W] uint8 or float in [0, 1].
        config: The ranges; color operations that are off are drawn with a strength of 0.5.
    """
    rows = _auxiliary_rows(config)
    columns = max(len(settings) for _, settings in rows)
    figure = new_figure(1.3 * columns + 1.2, 1.5 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, settings) in zip(grid, rows, strict=True):
        views = [one_view(image, config, **params) for _, params in settings]
        show_images(axes, torch.stack(views), [caption for caption, _ in settings])
        axes[0].set_ylabel(name, fontsize=LABEL, rotation=0, ha="right", va="center", labelpad=8)
    return figure


Setting = tuple[str, dict[str, Any]]  # a caption and the parameters that it changes


def _auxiliary_rows(config: ViewsConfig) -> list[tuple[str, list[Setting]]]:
    low, high = config.crop_area
    areas = [low + (high - low) * step for step in _STEPS]
    narrow, wide = config.crop_aspect
    aspects = [narrow * (wide / narrow) ** step for step in _STEPS]
    weak, strong = config.blur_sigma
    sigmas = [weak + (strong - weak) * step for step in _STEPS]
    rows: list[tuple[str, list[Setting]]] = [
        ("crop: area", [(f"{100 * area:.0f} %", {"area": area}) for area in areas]),
        ("crop: aspect", [(f"{a:.2f} : 1", {"area": 0.5, "aspect": a}) for a in aspects]),
        ("flip", [("no", {}), ("yes", {"flip": True})]),
    ]
    rows += [(name, _color_settings(index, getattr(config, name) or 0.5)) for index, name in enumerate(OPERATIONS)]
    return [*rows, ("blur", [(f"σ {sigma:.2f} px", {"sigma": sigma}) for sigma in sigmas])]


def _color_settings(index: int, strength: float) -> list[Setting]:
    """Return five settings of one color operation, from the lowest to the highest value of its range."""
    settings = []
    for step in (-1, -0.5, 0, 0.5, 1):
        factors = [1.0, 1.0, 1.0, 0.0]
        factors[index] += step * strength
        value = factors[index]
        caption = f"{value:+.2f}" if OPERATIONS[index] == "hue" else f"× {value:.2f}"
        settings.append((caption, {"factors": factors}))
    return settings


def one_view(image: Tensor, config: ViewsConfig, primary: str = "rot0", **params: Any) -> Tensor:
    """Return one view, [3, S, S] float in [0, 1], with given parameters.

    Args:
        image: [3, H, W] uint8 or float in [0, 1].
        config: Gives the view's size and the blur kernel.
        primary: Name of the primary transform.
        **params: Parameters of `codial.transforms.manual.manual_params`.
    """
    height, width = image.shape[-2:]
    enabled = replace(config, primary=(primary,), blur=1.0, brightness=1.0)
    return render(image.unsqueeze(0), manual_params((height, width), config.size, **params), enabled).images[0, 0]


def stages(
    image: Tensor,
    box: Sequence[float],
    steps: Sequence[tuple[str, Tensor]],
    notes: Sequence[str],
    offsets: Tensor | None = None,
) -> Figure:
    """Draw an image with its crop box and the view after each stage of its transformation.

    Args:
        image: [3, H, W] uint8 or float in [0, 1].
        box: (left, top, width, height) in image pixels.
        steps: Name of each stage and the view after it, [3, S, S].
        notes: Caption of each stage.
        offsets: Offsets of the last stage's warp, [16, 2] (dx, dy) in pixels, drawn as arrows.
    """
    figure = new_figure(2.0 * (1 + len(steps)), 2.4)
    first, *others = figure.subplots(1, 1 + len(steps))
    show_image(first, image)
    first.set_title("image", fontsize=TITLE)
    _draw_box(first, box, BLUE)
    for axes, (name, view), note in zip(others, steps, notes, strict=True):
        show_image(axes, view)
        axes.set_title(name, fontsize=TITLE)
        axes.set_xlabel(note, fontsize=SMALL - 0.5)
    if offsets is not None:
        draw_arrows(others[-1], control_points(steps[-1][1].shape[-1]).float(), offsets)
    return figure
