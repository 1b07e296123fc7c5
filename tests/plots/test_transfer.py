"""Pictures of transfer show what is there and what was found."""

import pytest
import torch

from codial.data import voc
from codial.data.scenes import make_scenes
from codial.evaluate.transfer import TransferReport, transfer_table
from codial.evaluate.transfer.detection import Seen
from codial.evaluate.transfer.hits import Detections
from codial.evaluate.transfer.segmentation import Shown
from codial.paper import transferred
from codial.plots.style import png
from codial.plots.transfer import found_boxes, found_masks, loss_curves


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes"), {"train": 1, "val": 1, "test": 2})


def test_masks_are_drawn_for_every_run_with_the_classes_that_are_there(root):
    shown = []
    for item in voc.segmented(root, "val"):
        _, truth = voc.masked(item)
        shown.append(Shown(item.path, truth, torch.where(truth == voc.IGNORED, 0, truth)))
    figure = found_masks({"random": shown, "codial": shown})
    assert len(figure.axes) == 2 * 4
    assert [axes.get_title() for axes in figure.axes[:4]] == ["picture", "what is there", "random", "codial"]
    there = {voc.CLASSES[int(v) - 1] for each in shown for v in each.found.unique() if v}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == there
    assert png(figure)


def test_sure_detections_are_drawn_and_unsure_ones_are_not(root):
    items = voc.annotated(root, "test")
    boxes = torch.tensor([[0.0, 0, 20, 20], [5, 5, 30, 30]])
    found = Detections(boxes, torch.tensor([0.9, 0.01]), torch.tensor([7, 14]))
    figure = found_boxes({"codial": [Seen(item, found) for item in items]})
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


def test_the_table_has_the_papers_numbers_beneath_ours():
    report = TransferReport("mAP", 12.34, {}, "", "", "", 0)
    told = transfer_table({"codial/photos": [report] * 3, "mine": [report] * 3}).splitlines()
    assert told[1].split() == ["codial/photos", "12.3", "12.3", "12.3"]
    columns = ("voc2007 classification", "voc2007 detection", "voc2012 segmentation")
    assert told[2].split()[3:] == [f"{transferred('codial', column):.1f}" for column in columns]
    assert told[3].split() == ["mine", "12.3", "12.3", "12.3"]
    assert len(told) == 4
