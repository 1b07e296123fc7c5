"""Average precision of detections."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codial.data.voc import Annotated
from codial.errors import CodialError
from codial.evaluate.transfer.hits import Detections, hits, precisions

CLASSES = ("cat", "dog", "cow")


def annotated(boxes, labels, difficult=None):
    hard = torch.zeros(len(boxes), dtype=torch.bool) if difficult is None else torch.tensor(difficult, dtype=torch.bool)
    boxes, labels = torch.tensor(boxes).float().view(-1, 4), torch.tensor(labels).long()
    return Annotated(Path("a.jpg"), (400, 400), boxes, labels, hard)


def detected(boxes, scores, labels):
    return Detections(torch.tensor(boxes).float().view(-1, 4), torch.tensor(scores), torch.tensor(labels).long())


def random_case(generator, pictures=12, hard=0.0):
    """Objects that lie apart, and detections: most moved from an object, some repeated, some by chance."""
    found, truth = [], []
    for _ in range(pictures):
        cells = torch.randperm(16, generator=generator)[: 1 + int(torch.randint(6, (), generator=generator))]
        corner = 100.0 * torch.stack((cells % 4, cells // 4), 1)
        boxes = torch.cat((corner + 10, corner + 70), 1)
        labels = torch.randint(3, (len(cells),), generator=generator)
        difficult = torch.rand(len(cells), generator=generator) < hard
        truth.append(Annotated(Path("a.jpg"), (400, 400), boxes, labels, difficult))
        of = torch.randint(len(cells), (2 * len(cells),), generator=generator)
        moved = boxes[of] + 14 * torch.randn(len(of), 4, generator=generator)
        moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2] + 5)
        other = torch.randint(3, (len(of),), generator=generator)
        kinds = torch.where(torch.rand(len(of), generator=generator) < 0.7, labels[of], other)
        found.append(Detections(moved, torch.rand(len(of), generator=generator), kinds))
    return found, truth


def slow_precision(found, truth, label, form):
    """The definition, detection by detection, over all pictures at once; after the development kit's VOCevaldet.m."""
    rows = [
        (float(score), picture, box)
        for picture, each in enumerate(found)
        for score, box, kind in zip(each.scores, each.boxes, each.labels, strict=True)
        if kind == label
    ]
    objects = {
        p: [[b.tolist(), bool(h), False] for b, k, h in zip(t.boxes, t.labels, t.difficult, strict=True) if k == label]
        for p, t in enumerate(truth)
    }
    total = sum(not hard for each in objects.values() for _, hard, _ in each)
    right, wrong = [], []
    for _, picture, box in sorted(rows, key=lambda row: -row[0]):
        best, most = None, -1.0
        for each in objects[picture]:
            (a, b, c, d), (e, f, g, h) = box.tolist(), each[0]
            wide, high = min(c, g) - max(a, e), min(d, h) - max(b, f)
            both = max(wide, 0) * max(high, 0)
            overlap = both / ((c - a) * (d - b) + (g - e) * (h - f) - both)
            if overlap > most:
                best, most = each, overlap
        if most >= 0.5 and best[1]:
            continue
        ok = most >= 0.5 and not best[2]
        if ok:
            best[2] = True
        right.append(ok)
        wrong.append(not ok)
    tp, fp = np.cumsum(right), np.cumsum(wrong)
    recall, precision = tp / total, tp / (tp + fp)
    if form == "11-point":
        return 100 * sum(max(precision[recall >= t - 1e-12], default=0) for t in np.arange(11) / 10) / 11
    ends, value = np.concatenate(([0], recall)), 0.0
    for i in range(len(precision)):
        value += (ends[i + 1] - ends[i]) * max(precision[i:])
    return 100 * value


@pytest.mark.parametrize("hard", [0.0, 0.3])
@pytest.mark.parametrize("form", ["11-point", "area"])
def test_precisions_are_the_definitions(form, hard, generator):
    for _ in range(5):
        found, truth = random_case(generator, hard=hard)
        got = precisions(found, truth, CLASSES, form)
        assert got == {
            name: pytest.approx(slow_precision(found, truth, k, form), abs=1e-9) for k, name in enumerate(CLASSES)
        }
        assert min(got.values()) > 5
        assert max(got.values()) < 95


def test_areas_are_torchmetrics(generator):
    """It reads the precision at 101 recalls, so it is within a hundredth; objects apart, so that matchings agree."""
    detection = pytest.importorskip("torchmetrics.detection")
    pytest.importorskip("pycocotools")
    for _ in range(3):
        found, truth = random_case(generator, pictures=30)
        metric = detection.MeanAveragePrecision(iou_thresholds=[0.5], class_metrics=True)
        metric.update(
            [{"boxes": d.boxes, "scores": d.scores, "labels": d.labels} for d in found],
            [{"boxes": t.boxes, "labels": t.labels} for t in truth],
        )
        wanted = 100 * metric.compute()["map_per_class"]
        got = torch.tensor(list(precisions(found, truth, CLASSES, "area").values()))
        torch.testing.assert_close(got, wanted, atol=1.0, rtol=0)


def test_difficult_objects_count_neither_way_and_doubles_are_wrong():
    truth = [annotated([[0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]], [0, 0, 0], [False, True, False])]
    boxes = [[50, 50, 60, 60], [0, 0, 10, 10], [1, 0, 11, 10], [50, 51, 60, 61], [30, 30, 40, 40], [80, 80, 90, 85]]
    found = [detected(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0] * 6)]
    scores, right, total = hits(found, truth, 0)
    assert scores.tolist() == pytest.approx([0.8, 0.7, 0.5, 0.4])
    assert right.tolist() == [True, False, False, True]  # the last overlaps by exactly half
    assert total == 2
    assert precisions(found, truth, CLASSES) == {
        "cat": pytest.approx(100 * (6 * 1 + 5 * 0.5) / 11),
        "dog": None,
        "cow": None,
    }
    assert precisions(found, truth, CLASSES, "area")["cat"] == pytest.approx(75)


def test_a_detection_of_another_picture_or_class_is_wrong():
    truth = [annotated([[0, 0, 10, 10]], [0]), annotated([], [])]
    found = [detected([[0, 0, 10, 10]], [0.5], [1]), detected([[0, 0, 10, 10]], [0.9], [0])]
    assert precisions(found, truth, CLASSES) == {"cat": 0, "dog": None, "cow": None}


def test_nothing_found_is_zero():
    truth, none = [annotated([[0, 0, 10, 10]], [0])], [detected([], [], [])]
    assert precisions(none, truth, ("cat",)) == precisions(none, truth, ("cat",), "area") == {"cat": 0}


def test_what_does_not_fit():
    with pytest.raises(CodialError, match="Detections of 0 pictures cannot be held against 1 pictures"):
        hits([], [annotated([], [])], 0)
    with pytest.raises(CodialError, match="form is 'best'; expected 11-point or area"):
        precisions([], [], CLASSES, "best")
