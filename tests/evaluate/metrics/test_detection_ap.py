"""Average precision of detections."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codial.data.datasets.voc import AnnotatedImage
from codial.errors import CodialError
from codial.evaluate.metrics.detection_ap import Detections, detection_precisions, match_detections

CLASSES = ("cat", "dog", "cow")


def annotated(boxes, labels, difficult=None):
    hard = torch.zeros(len(boxes), dtype=torch.bool) if difficult is None else torch.tensor(difficult, dtype=torch.bool)
    boxes, labels = torch.tensor(boxes).float().view(-1, 4), torch.tensor(labels).long()
    return AnnotatedImage(Path("a.jpg"), (400, 400), boxes, labels, hard)


def detected(boxes, scores, labels):
    return Detections(torch.tensor(boxes).float().view(-1, 4), torch.tensor(scores), torch.tensor(labels).long())


def random_case(generator, images=12, hard=0.0):
    """Return random detections of separate objects: shifted, repeated, and some of a wrong class."""
    found, truth = [], []
    for _ in range(images):
        cells = torch.randperm(16, generator=generator)[: 1 + int(torch.randint(6, (), generator=generator))]
        corner = 100.0 * torch.stack((cells % 4, cells // 4), 1)
        boxes = torch.cat((corner + 10, corner + 70), 1)
        labels = torch.randint(3, (len(cells),), generator=generator)
        difficult = torch.rand(len(cells), generator=generator) < hard
        truth.append(AnnotatedImage(Path("a.jpg"), (400, 400), boxes, labels, difficult))
        of = torch.randint(len(cells), (2 * len(cells),), generator=generator)
        moved = boxes[of] + 14 * torch.randn(len(of), 4, generator=generator)
        moved[:, 2:] = torch.maximum(moved[:, 2:], moved[:, :2] + 5)
        other = torch.randint(3, (len(of),), generator=generator)
        kinds = torch.where(torch.rand(len(of), generator=generator) < 0.7, labels[of], other)
        found.append(Detections(moved, torch.rand(len(of), generator=generator), kinds))
    return found, truth


def slow_precision(found, truth, label, form):
    """Compute the definition, detection by detection, as the development kit's VOCevaldet.m."""
    rows = [
        (float(score), image, box)
        for image, each in enumerate(found)
        for score, box, kind in zip(each.scores, each.boxes, each.labels, strict=True)
        if kind == label
    ]
    objects = {
        p: [[b.tolist(), bool(h), False] for b, k, h in zip(t.boxes, t.labels, t.difficult, strict=True) if k == label]
        for p, t in enumerate(truth)
    }
    total = sum(not hard for each in objects.values() for _, hard, _ in each)
    right, wrong = [], []
    for _, image, box in sorted(rows, key=lambda row: -row[0]):
        best, most = None, -1.0
        for each in objects[image]:
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
@pytest.mark.parametrize("form", ["11-point", "interpolated"])
def test_detection_precisions_match_the_definition(form, hard, generator):
    for _ in range(5):
        found, truth = random_case(generator, hard=hard)
        got = detection_precisions(found, truth, CLASSES, form)
        assert got == {
            name: pytest.approx(slow_precision(found, truth, k, form), abs=1e-9) for k, name in enumerate(CLASSES)
        }
        assert min(got.values()) > 5
        assert max(got.values()) < 95


def test_interpolated_precisions_match_torchmetrics(generator):
    """torchmetrics has 101 recalls, hence the tolerance; objects are separate, so that matches agree."""
    detection = pytest.importorskip("torchmetrics.detection")
    pytest.importorskip("pycocotools")
    for _ in range(3):
        found, truth = random_case(generator, images=30)
        metric = detection.MeanAveragePrecision(iou_thresholds=[0.5], class_metrics=True)
        metric.update(
            [{"boxes": d.boxes, "scores": d.scores, "labels": d.labels} for d in found],
            [{"boxes": t.boxes, "labels": t.labels} for t in truth],
        )
        expected = 100 * metric.compute()["map_per_class"]
        got = torch.tensor(list(detection_precisions(found, truth, CLASSES, "interpolated").values()))
        torch.testing.assert_close(got, expected, atol=1.0, rtol=0)


def test_difficult_objects_are_ignored_and_duplicates_are_false_positives():
    truth = [annotated([[0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]], [0, 0, 0], [False, True, False])]
    boxes = [[50, 50, 60, 60], [0, 0, 10, 10], [1, 0, 11, 10], [50, 51, 60, 61], [30, 30, 40, 40], [80, 80, 90, 85]]
    found = [detected(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0] * 6)]
    scores, right, total = match_detections(found, truth, 0)
    assert scores.tolist() == pytest.approx([0.8, 0.7, 0.5, 0.4])
    assert right.tolist() == [True, False, False, True]  # the last overlaps by exactly half
    assert total == 2
    assert detection_precisions(found, truth, CLASSES) == {
        "cat": pytest.approx(100 * (6 * 1 + 5 * 0.5) / 11),
        "dog": None,
        "cow": None,
    }
    assert detection_precisions(found, truth, CLASSES, "interpolated")["cat"] == pytest.approx(75)


def test_detections_of_another_image_or_class_are_false_positives():
    truth = [annotated([[0, 0, 10, 10]], [0]), annotated([], [])]
    found = [detected([[0, 0, 10, 10]], [0.5], [1]), detected([[0, 0, 10, 10]], [0.9], [0])]
    assert detection_precisions(found, truth, CLASSES) == {"cat": 0, "dog": None, "cow": None}


def test_no_detections_have_precision_zero():
    truth, none = [annotated([[0, 0, 10, 10]], [0])], [detected([], [], [])]
    assert (
        detection_precisions(none, truth, ("cat",))
        == detection_precisions(none, truth, ("cat",), "interpolated")
        == {"cat": 0}
    )


def test_invalid_arguments_raise():
    with pytest.raises(CodialError, match="detections has 0 entries for 1 images; expected one per image"):
        match_detections([], [annotated([], [])], 0)
    truth, found = [annotated([[0, 0, 10, 10]], [0])], [detected([], [], [])]
    with pytest.raises(CodialError, match="form is 'best'; expected one of area, 11-point, interpolated"):
        detection_precisions(found, truth, CLASSES, "best")
