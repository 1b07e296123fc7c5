"""Transfer results: predicted masks and boxes beside the ground truth, and losses of fine-tuning."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from codial.data.datasets import voc
from codial.evaluate.transfer.detection import DetectionExample
from codial.evaluate.transfer.segmentation import SegmentationExample
from codial.plots.style import (
    GRAY,
    LABEL,
    PALETTE,
    SMALL,
    TITLE,
    frame,
    new_figure,
    run_colors,
    show_image,
    subplots,
    text_color,
)

_MIN_SCORE = 0.1  # of the detections that are drawn
_MAX_DETECTIONS = 4  # per image


def predicted_masks(examples: Mapping[str, Sequence[SegmentationExample]]) -> Figure:
    """Draw test images with their true and predicted masks, one row per image; ignored pixels are gray.

    Args:
        examples: Examples by run, all of the same images, as `SegmentationResult.examples`.
    """
    first = next(iter(examples.values()))
    classes = sorted({value for each in examples.values() for item in each for value in _classes(item)})
    colors = dict(zip(classes, PALETTE * 3, strict=False))
    columns = 2 + len(examples)
    figure = new_figure(1.9 * columns, 1.45 * len(first) + 0.5)
    grid = figure.subplots(len(first), columns, squeeze=False)
    for row, item in zip(grid, first, strict=True):
        show_image(row[0], voc.read_pixels(item.path))
        _draw_mask(row[1], item.truth, colors)
    for column, each in enumerate(examples.values(), 2):
        for row, item in zip(grid, each, strict=True):
            _draw_mask(row[column], item.prediction, colors)
    for axes, title in zip(grid[0], ("image", "ground truth", *examples), strict=True):
        axes.set_title(title, fontsize=LABEL)
    handles = [Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
    names = [voc.CLASSES[number - 1] for number in classes]
    figure.legend(handles, names, fontsize=SMALL, frameon=False, loc="outside lower center", ncols=min(6, len(names)))
    return figure


def predicted_boxes(examples: Mapping[str, Sequence[DetectionExample]]) -> Figure:
    """Draw test images with their objects, and each run's most confident detections with their scores.

    Args:
        examples: Examples by run, all of the same images, as `DetectionResult.examples`.
    """
    first = next(iter(examples.values()))
    items = [item for each in examples.values() for item in each]
    labels = {int(value) for item in items for value in (*item.truth.labels, *item.detections.labels)}
    colors = dict(zip(sorted(labels), PALETTE * 3, strict=False))
    figure = new_figure(2.4 * (1 + len(examples)), 1.8 * len(first) + 0.4)
    grid = figure.subplots(len(first), 1 + len(examples), squeeze=False)
    for row, item in zip(grid, first, strict=True):
        show_image(row[0], voc.read_pixels(item.truth.path))
        for box, label in zip(item.truth.boxes.tolist(), item.truth.labels.tolist(), strict=True):
            _draw_box(row[0], box, colors[label], voc.CLASSES[label])
    for column, each in enumerate(examples.values(), 1):
        for row, item in zip(grid, each, strict=True):
            show_image(row[column], voc.read_pixels(item.truth.path))
            _draw_detections(row[column], item, colors)
    for axes, title in zip(grid[0], ("ground truth", *examples), strict=True):
        axes.set_title(title, fontsize=LABEL)
    return figure


def loss_curves(losses: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Plot the losses of fine-tuning, one panel each, smoothed over a twentieth of the steps.

    Args:
        losses: By loss and run, one value per step.
    """
    figure, grid = subplots(2.9 * len(losses), 2.8, columns=len(losses))
    for axes, (name, runs) in zip(grid[0], losses.items(), strict=True):
        for (run, values), color in zip(runs.items(), run_colors(list(runs)), strict=True):
            width = max(1, len(values) // 20)
            smooth = np.convolve(np.asarray(values), np.ones(width) / width, "valid")
            axes.plot(np.arange(len(smooth)) + width, smooth, color=color, label=run)
        axes.set_title(name, fontsize=TITLE)
        axes.set_xlabel("step", fontsize=LABEL)
        axes.set_ylabel("nats" if "box" not in name else "smooth L1", fontsize=LABEL)
    grid[0, 0].legend(fontsize=SMALL, frameon=False)
    return figure


def _classes(item: SegmentationExample) -> list[int]:
    """Return the classes of a true and a predicted mask, without background and ignored pixels."""
    values = torch.cat((item.truth.flatten(), item.prediction.flatten())).unique().tolist()
    return [int(value) for value in values if value not in (0, voc.IGNORE_INDEX)]


def _draw_mask(axes: Axes, mask: torch.Tensor, colors: Mapping[int, str]) -> None:
    palette = torch.full((256, 3), 255, dtype=torch.uint8)
    palette[voc.IGNORE_INDEX] = 200
    for number, color in colors.items():
        palette[number] = torch.tensor([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    show_image(axes, palette[mask.long()].permute(2, 0, 1))
    frame(axes, GRAY, 0.5)


def _draw_detections(axes: Axes, item: DetectionExample, colors: Mapping[int, str]) -> None:
    detections = item.detections
    for index in detections.scores.argsort(descending=True)[:_MAX_DETECTIONS].tolist():
        if (score := float(detections.scores[index])) >= _MIN_SCORE:
            label = int(detections.labels[index])
            _draw_box(axes, detections.boxes[index].tolist(), colors[label], f"{voc.CLASSES[label]} {score:.2f}")


def _draw_box(axes: Axes, box: Sequence[float], color: str, caption: str) -> None:
    left, top, right, bottom = box
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=1.8))
    text = axes.text(left + 2, top + 2, caption, va="top", fontsize=SMALL - 1, color=text_color(color))
    text.set_bbox({"facecolor": color, "edgecolor": "none", "pad": 1})
