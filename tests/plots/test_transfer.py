"""Figures of transfer results, checked by their artists."""

import pytest
import torch

from codial.data.datasets import voc
from codial.data.datasets.voc_scenes import make_scenes
from codial.evaluate.metrics.detection_ap import Detections
from codial.evaluate.transfer.detection import DetectionExample
from codial.evaluate.transfer.segmentation import SegmentationExample
from codial.plots.style import png
from codial.plots.transfer import loss_curves, predicted_boxes, predicted_masks


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes"), {"train": 1, "val": 1, "test": 2})


def test_masks_are_drawn_for_every_run_with_a_legend_of_their_classes(root):
    shown = []
    for item in voc.list_segmented(root, "val"):
        _, truth = voc.read_image_and_mask(item)
        shown.append(SegmentationExample(item.path, truth, torch.where(truth == voc.IGNORE_INDEX, 0, truth)))
    figure = predicted_masks({"random": shown, "codial": shown})
    assert len(figure.axes) == 2 * 4
    assert [axes.get_title() for axes in figure.axes[:4]] == ["image", "ground truth", "random", "codial"]
    there = {voc.CLASSES[int(v) - 1] for each in shown for v in each.prediction.unique() if v}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == there
    assert png(figure)


def test_only_confident_detections_are_drawn(root):
    items = voc.read_annotations(root, "test")
    boxes = torch.tensor([[0.0, 0, 20, 20], [5, 5, 30, 30]])
    found = Detections(boxes, torch.tensor([0.9, 0.01]), torch.tensor([7, 14]))
    figure = predicted_boxes({"codial": [DetectionExample(item, found) for item in items]})
    for row, item in enumerate(items):
        truth, seen = figure.axes[2 * row : 2 * row + 2]
        assert len(truth.patches) == len(item.boxes)
        assert [text.get_text() for text in seen.texts] == ["cat 0.90"]
        assert (seen.patches[0].get_width(), seen.patches[0].get_xy()) == (20, (0, 0))


def test_losses_are_smoothed_over_a_twentieth():
    figure = loss_curves({"segmentation": {"a": [1.0] * 40 + [3.0] * 40}, "detection, boxes": {"a": [2.0] * 40}})
    line = figure.axes[0].lines[0]
    assert line.get_ydata()[0] == pytest.approx(1)
    assert line.get_ydata()[-1] == pytest.approx(3)
    assert len(line.get_ydata()) == 80 - 4 + 1
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats", "smooth L1"]
