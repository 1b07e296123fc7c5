"""Detection: training on synthetic shapes, augmentation, reports and invalid input."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import codial
from codial.config import ModelConfig
from codial.data.datasets import voc
from codial.data.datasets.voc import AnnotatedImage
from codial.errors import CodialError
from codial.evaluate.transfer import DetectionConfig, detect, detection
from codial.evaluate.transfer.fast_rcnn import FastRcnn
from codial.evaluate.transfer.roi_sampling import decode
from codial.models import AlexNet

pytest.importorskip("cv2")

COLORS = {1: (220, 40, 40), 6: (40, 200, 60), 14: (40, 60, 220)}  # by class
QUICK = DetectionConfig(steps=2, boxes=32, scales=(64, 80), scale=80, max_side=200)


def made_image(folder, number, shapes=2):
    """Save an image of colored squares of three classes on a noisy gray background, and return its annotations."""
    generator = torch.Generator().manual_seed(number)
    image = torch.randint(90, 160, (3, 96, 128), generator=generator, dtype=torch.uint8)
    boxes, labels = [], []
    for column in torch.randperm(2, generator=generator)[:shapes].tolist():
        side = int(torch.randint(30, 50, (), generator=generator))
        left = 64 * column + int(torch.randint(64 - side, (), generator=generator))
        top = int(torch.randint(96 - side, (), generator=generator))
        label = list(COLORS)[int(torch.randint(3, (), generator=generator))]
        image[:, top : top + side, left : left + side] = torch.tensor(COLORS[label], dtype=torch.uint8).view(3, 1, 1)
        boxes.append([left, top, left + side, top + side])
        labels.append(label)
    path = folder / "VOC2007" / "JPEGImages" / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    hard = torch.zeros(len(boxes), dtype=torch.bool)
    return AnnotatedImage(path, (96, 128), torch.tensor(boxes).float().view(-1, 4), torch.tensor(labels).long(), hard)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return [made_image(folder, n) for n in range(24)], [made_image(folder, n) for n in range(100, 112)]


@pytest.fixture
def backbone():
    torch.manual_seed(7)
    return AlexNet(ModelConfig(width=0.1), 64)


@pytest.mark.slow
def test_detector_learns_shapes(made, backbone):
    before = {name: values.clone() for name, values in backbone.state_dict().items()}
    config = DetectionConfig(steps=120, boxes=64, lr=0.01, scales=(80, 96, 112), scale=96, max_side=200)
    untrained, trained = (detect(backbone, *made, replace(config, steps=steps), progress=False) for steps in (0, 120))
    losses = trained.losses
    assert untrained.losses.shape == (0, 2)
    assert losses.shape == (120, 2)
    assert bool((losses[-20:].mean(0) < 0.7 * losses[:20].mean(0)).all())
    assert untrained.report.value < 20
    assert trained.report.value > 50
    assert trained.recall == 100
    assert {name for name, value in trained.report.classes.items() if value is not None} == {"bicycle", "car", "person"}
    assert len(trained.examples) == 6
    assert trained.examples[0].truth is made[1][0]
    after = backbone.state_dict()
    assert all(torch.equal(values, after[name]) for name, values in before.items())


def test_detection_is_deterministic(made, backbone):
    sets = made[0][:4], made[1][:2]
    first, again, other = (detect(backbone, *sets, replace(QUICK, seed=s), progress=False) for s in (0, 0, 1))
    assert torch.equal(first.losses, again.losses)
    assert torch.equal(first.examples[0].detections.boxes, again.examples[0].detections.boxes)
    assert not torch.equal(first.losses, other.losses)


def test_report_of_a_run_is_saved(made, tiny_run, tmp_path):
    run = codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    found = detect(run, made[0][:3], made[1][:2], QUICK, progress=False, device="cpu")
    report = json.loads((run.folder / "evaluations" / "transfer-voc2007-detection.json").read_text())
    assert (report["metric"], report["value"], report["seed"]) == ("mAP", found.report.value, 0)
    assert list(report["classes"]) == list(report["classes_area"]) == list(voc.CLASSES)
    assert report["train"].startswith("voc2007 3 images, 6 objects ")
    assert report["test"].startswith("voc2007 2 images, 4 objects ")
    assert "2 steps of 2 images and 32 boxes" in report["protocol"]
    assert len(list((tmp_path / "proposals").iterdir())) == 5


def test_augmented_boxes_match_their_objects(made):
    item = made[0][0]
    original, config = voc.read_pixels(item.path), replace(QUICK, scales=(48, 96, 160))
    seen = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        image, drawn = detection.augment(original, item, item.boxes + 4, config, generator)
        seen.add(image.shape[1])
        assert len(drawn.labels) == 4
        for left, top, right, bottom in decode(drawn.boxes, drawn.offsets).round().int().tolist():
            color = 255 * image[:, top + 1 : bottom - 1, left + 1 : right - 1].mean((1, 2))
            apart = [float((color - torch.tensor(COLORS[k])).abs().max()) for k in item.labels.tolist()]
            assert min(apart) < 12
    assert seen == {48, 96, 150}  # as the longer side is at most 200


def test_detections_are_in_original_pixels(made, backbone, monkeypatch):
    net, item = FastRcnn(backbone, 20, torch.Generator()), made[1][0]
    scores = torch.zeros(2, 21)
    scores[:, 5] = 9
    monkeypatch.setattr(net, "forward", lambda images, boxes: (scores, torch.zeros(2, 20, 4)))
    (found,) = detection.evaluate(net, [item], [item.boxes], QUICK, progress=False)
    assert found.labels.tolist() == [4, 4]
    torch.testing.assert_close(found.boxes.sort(0).values, item.boxes.sort(0).values, atol=1e-3, rtol=0)


def test_images_without_objects_are_ignored(made, backbone, tmp_path):
    empty = made_image(tmp_path, 50, shapes=0)
    hard = replace(made[0][1], difficult=torch.ones(2, dtype=torch.bool))
    found, plain = (
        detect(backbone, each, made[1][:2], QUICK, progress=False)
        for each in ([empty, hard, *made[0][:2]], made[0][:2])
    )
    assert torch.equal(found.losses, plain.losses)
    with pytest.raises(CodialError, match=r"^0 of 2 training images and 2 of 2 test images have objects"):
        detect(backbone, [empty, hard], made[1][:2], QUICK)
    with pytest.raises(
        CodialError, match=r"and 0 of 1 test images have objects that are not difficult; expected at least one"
    ):
        detect(backbone, made[0][:2], [empty], QUICK)


def test_nan_loss_raises(made, backbone):
    with pytest.raises(
        CodialError, match=r"^NaN or infinite loss at step \d+: \[.*nan.*\]\. Use a learning rate below 1e\+30"
    ):
        detect(backbone, made[0][:2], made[1][:1], replace(QUICK, steps=20, lr=1e30), progress=False)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"steps": -1}, "steps is -1; expected a whole number of at least 0"),
        ({"scales": ()}, "expected at least one scale"),
        ({"scales": (0,)}, "a scale is 0; expected a whole number"),
        ({"lr": 0.0}, "lr above 0"),
        ({"threshold": 1.0}, r"threshold in \[0, 1\)"),
        ({"boxes": 1}, "boxes is 1 for 2 images; expected at least one box per image"),
    ],
)
def test_invalid_settings_raise(settings, text):
    with pytest.raises(CodialError, match=text):
        DetectionConfig(**settings)


def test_learning_rate_schedule(made, backbone, monkeypatch):
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    detect(backbone, made[0][:2], made[1][:1], replace(QUICK, steps=10), progress=False)
    assert rates == pytest.approx([1e-3] * 4 + [1e-4] * 4 + [1e-5] * 2)


@pytest.mark.skipif("CODIAL_DATA" not in os.environ, reason="CODIAL_DATA is not set")
def test_real_dataset(backbone):
    root = Path(os.environ["CODIAL_DATA"])
    train, test = voc.read_annotations(root, "train")[:2], voc.read_annotations(root, "test")[:2]
    found = detect(backbone, train, test, QUICK, progress=False)
    assert found.recall > 30
    assert bool(found.losses.isfinite().all())
