"""Pictures of transfer: what a segmentation and a detector found, beside what is there, and their losses."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from codial.data import voc
from codial.evaluate.transfer.detection import Seen
from codial.evaluate.transfer.segmentation import Shown
from codial.plots.style import (
    GREY,
    LABEL,
    PALETTE,
    SMALL,
    TITLE,
    frame,
    ink,
    new_figure,
    run_colours,
    show_picture,
    subplots,
)

_LEAST = 0.1  # of a detection's probability, to be drawn
_MOST = 4  # detections drawn in a picture


def found_masks(shown: Mapping[str, Sequence[Shown]]) -> Figure:
    """Draw test pictures, their masks, and the masks that networks found, a row each; ignored pixels are grey.

    Args:
        shown: by run, of the same pictures, as `Segmentation.shown`.
    """
    first = next(iter(shown.values()))
    classes = sorted({int(v) for each in shown.values() for item in each for v in _values(item)})
    colours = dict(zip(classes, PALETTE * 3, strict=False))
    columns = 2 + len(shown)
    figure = new_figure(1.9 * columns, 1.45 * len(first) + 0.5)
    grid = figure.subplots(len(first), columns, squeeze=False)
    for row, item in zip(grid, first, strict=True):
        _show(row[0], voc.pixels(item.path))
        _show_mask(row[1], item.truth, colours)
    for column, each in enumerate(shown.values(), 2):
        for row, item in zip(grid, each, strict=True):
            _show_mask(row[column], item.found, colours)
    for axes, title in zip(grid[0], ("picture", "what is there", *shown), strict=True):
        axes.set_title(title, fontsize=LABEL)
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    names = [voc.CLASSES[number - 1] for number in classes]
    figure.legend(handles, names, fontsize=SMALL, frameon=False, loc="outside lower center", ncols=min(6, len(names)))
    return figure


def found_boxes(shown: Mapping[str, Sequence[Seen]]) -> Figure:
    """Draw test pictures with their objects, and with the surest detections of each run beside their probability.

    Args:
        shown: by run, of the same pictures, as `Detection.shown`.
    """
    first = next(iter(shown.values()))
    labels = {int(v) for each in shown.values() for seen in each for v in (*seen.truth.labels, *seen.found.labels)}
    colours = dict(zip(sorted(labels), PALETTE * 3, strict=False))
    figure = new_figure(2.4 * (1 + len(shown)), 1.8 * len(first) + 0.4)
    grid = figure.subplots(len(first), 1 + len(shown), squeeze=False)
    for row, item in zip(grid, first, strict=True):
        picture = voc.pixels(item.truth.path)
        _show(row[0], picture)
        for box, label in zip(item.truth.boxes.tolist(), item.truth.labels.tolist(), strict=True):
            _box(row[0], box, colours[label], voc.CLASSES[label])
    for column, each in enumerate(shown.values(), 1):
        for row, seen in zip(grid, each, strict=True):
            _show(row[column], voc.pixels(seen.truth.path))
            _surest(row[column], seen, colours)
    for axes, title in zip(grid[0], ("what is there", *shown), strict=True):
        axes.set_title(title, fontsize=LABEL)
    return figure


def loss_curves(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw the losses of fine-tuning, a panel for each, smoothed over a twentieth of the steps.

    Args:
        losses: by loss and run, a value a step.
    """
    figure, grid = subplots(2.9 * len(losses), 2.8, columns=len(losses))
    for axes, (name, runs) in zip(grid[0], losses.items(), strict=True):
        for (run, values), colour in zip(runs.items(), run_colours(list(runs)), strict=True):
            width = max(1, len(values) // 20)
            smooth = np.convolve(np.asarray(values), np.ones(width) / width, "valid")
            axes.plot(np.arange(len(smooth)) + width, smooth, color=colour, label=run)
        axes.set_title(name, fontsize=TITLE)
        axes.set_xlabel("step", fontsize=LABEL)
        axes.set_ylabel("nats" if "box" not in name else "smooth L1", fontsize=LABEL)
    grid[0, 0].legend(fontsize=SMALL, frameon=False)
    return figure


def _show(axes: Axes, picture: torch.Tensor) -> None:
    show_picture(axes, picture, "")


def _values(item: Shown) -> list[int]:
    """Return the classes that are there or were found, without background and what is ignored."""
    both = torch.cat((item.truth.flatten(), item.found.flatten())).unique().tolist()
    return [value for value in both if value not in (0, voc.IGNORED)]


def _show_mask(axes: Axes, mask: torch.Tensor, colours: Mapping[int, str]) -> None:
    palette = torch.full((256, 3), 255, dtype=torch.uint8)
    palette[voc.IGNORED] = 200
    for number, colour in colours.items():
        palette[number] = torch.tensor([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    _show(axes, palette[mask.long()].permute(2, 0, 1))
    frame(axes, GREY, 0.5)


def _surest(axes: Axes, seen: Seen, colours: Mapping[int, str]) -> None:
    found = seen.found
    for place in found.scores.argsort(descending=True)[:_MOST].tolist():
        if (score := float(found.scores[place])) >= _LEAST:
            label = int(found.labels[place])
            _box(axes, found.boxes[place].tolist(), colours[label], f"{voc.CLASSES[label]} {score:.2f}")


def _box(axes: Axes, box: Sequence[float], colour: str, told: str) -> None:
    left, top, right, bottom = box
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.8))
    text = axes.text(left + 2, top + 2, told, va="top", fontsize=SMALL - 1, color=ink(colour))
    text.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 1})
