import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import jaccard_score
from torch.nn.functional import cross_entropy, interpolate

from codial.config import ModelConfig
from codial.data.datasets import voc
from codial.data.datasets.voc import IGNORE_INDEX, SegmentedImage
from codial.errors import CodialError
from codial.evaluate.metrics.iou import confusion_matrix, iou_by_class
from codial.evaluate.transfer import SegmentationConfig, segment
from codial.evaluate.transfer.fcn import Fcn, crop
from codial.evaluate.transfer.segmentation import NAME, NAMES, evaluate, pixel_loss, sample_batches
from codial.models import AlexNet, LabAlexNet

QUICK = SegmentationConfig(steps=80, batch=4, lr=1e-2, crop=64, scales=(0.8, 1.25))
COLORS = {0: (90, 90, 90), 3: (220, 30, 30), 20: (30, 60, 220)}


def shapes(folder: Path, count: int, seed: int) -> list[SegmentedImage]:
    """Save gray images with a red and a blue square, of classes 3 and 20, with ignored borders."""
    generator, items = np.random.default_rng(seed), []
    folder.mkdir()
    for number in range(count):
        height, width = generator.integers(70, 100, 2)
        mask = np.zeros((height, width), np.uint8)
        for kind in (3, 20):
            top, left = generator.integers(0, height - 40), generator.integers(0, width - 40)
            mask[top : top + 40, left : left + 40] = IGNORE_INDEX
            mask[top + 2 : top + 38, left + 2 : left + 38] = kind
        colors = np.full((256, 3), 128, np.uint8)
        colors[list(COLORS)] = list(COLORS.values())
        image = colors[mask] + generator.integers(0, 20, (height, width, 3), dtype=np.uint8)
        item = SegmentedImage(folder / f"{number}.jpg", folder / f"{number}.png")
        Image.fromarray(image).save(item.path, quality=95)
        Image.fromarray(mask).save(item.mask)
        items.append(item)
    return items


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    return shapes(root / "train", 12, 1), shapes(root / "test", 6, 2)


def small_backbone(kind=AlexNet):
    torch.manual_seed(3)
    return kind(ModelConfig(width=0.1, bn_momentum=0.1), 32).eval()


# Metrics


def test_iou_matches_scikit_learn_and_torchmetrics(generator):
    """Class 4 is neither present nor predicted, class 3 only predicted, class 2 only present."""
    torchmetrics = pytest.importorskip("torchmetrics")
    truth = torch.tensor([0, 1, 2, IGNORE_INDEX])[torch.randint(4, (3, 40, 30), generator=generator)]
    found = torch.tensor([0, 1, 3])[torch.randint(3, (3, 40, 30), generator=generator)]
    counts = sum(confusion_matrix(t.to(torch.uint8), f.to(torch.uint8), 5) for t, f in zip(truth, found, strict=True))
    evaluated = truth != IGNORE_INDEX
    assert np.array_equal(counts, sklearn_confusion_matrix(truth[evaluated], found[evaluated], labels=range(5)))
    ratios = iou_by_class(counts)
    assert ratios[4] is None
    assert ratios[2:4] == [0.0, 0.0]
    reference = jaccard_score(truth[evaluated], found[evaluated], labels=range(4), average=None, zero_division=0)
    assert ratios[:4] == pytest.approx(reference)
    macro = torchmetrics.JaccardIndex("multiclass", num_classes=5, ignore_index=IGNORE_INDEX, average="macro")
    assert sum(ratios[:4]) / 4 == pytest.approx(float(macro(found, truth)))


def test_pixel_loss_ignores_pixels(generator):
    scores = torch.randn(2, 21, 8, 8, generator=generator)
    masks = torch.randint(21, (2, 8, 8), generator=generator).to(torch.uint8)
    masks[0, :3] = IGNORE_INDEX
    expected = cross_entropy(scores, masks.long(), ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(pixel_loss(scores, masks), expected)
    assert pixel_loss(scores, torch.full_like(masks, IGNORE_INDEX)) == 0


# Crops


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.3, 3.0)])
def test_crop_transforms_image_and_mask_alike(generator, scales):
    """Each pixel of the crop has its class's color, except at borders of classes, where pixels are interpolated."""
    block = torch.randint(0, 3, (1, 1, 3, 4), generator=generator).float()
    mask = interpolate(block, scale_factor=24, mode="nearest")[0, 0].long() * 10  # classes 0, 10 and 20
    original = torch.stack((mask * 12, 255 - mask * 12, mask * 3)).to(torch.uint8)
    for _ in range(30):
        image, cut = crop(original, mask.to(torch.uint8), 64, scales, generator)
        assert image.shape == (3, 64, 64)
        expected = torch.stack((cut * 12.0, 255 - cut * 12.0, cut * 3.0)) / 255
        wrong = ((image - expected).abs().amax(0) > 0.05) & (cut != IGNORE_INDEX)
        edges = torch.zeros(64, 64)
        for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            edges += (cut.roll(shift, (0, 1)) != cut).float()
        near = torch.nn.functional.max_pool2d(edges[None, None], 7, 1, 3)[0, 0] > 0
        assert not (wrong & ~near).any()
        assert near.float().mean() < 0.9  # not all pixels are excluded


def test_crops_are_mirrored_and_moved(generator):
    image = torch.arange(96, dtype=torch.uint8).expand(3, 80, 96).contiguous()
    mask = torch.zeros(80, 96, dtype=torch.uint8)
    rising = [float((c := crop(image, mask, 64, (1, 1), generator)[0])[0, 0, -1] - c[0, 0, 0]) for _ in range(40)]
    assert 5 < sum(r > 0 for r in rising) < 35
    assert {round(abs(r) * 255) for r in rising} == {63}


def test_pixels_outside_the_image_are_ignored(generator):
    original, mask = torch.full((3, 40, 20), 77, dtype=torch.uint8), torch.full((40, 20), 5, dtype=torch.uint8)
    image, cut = crop(original, mask, 64, (1, 1), generator)
    assert int((cut == 5).sum()) == 40 * 20
    assert int((cut == IGNORE_INDEX).sum()) == 64 * 64 - 40 * 20
    torch.testing.assert_close(image, torch.full_like(image, 77 / 255))


def test_all_images_are_sampled_before_any_repeats(made):
    train, _ = made
    config = SegmentationConfig(batch=3, crop=32, scales=(0.1, 0.1))  # so that crops cover complete images
    seen = [tuple(image.flatten().tolist()) for images, _ in sample_batches(train, config, 4, 5) for image in images]
    assert len(set(seen)) == len(seen) == len(train)


def test_crops_are_deterministic(made):
    train, _ = made
    first, again, other = (list(sample_batches(train, QUICK, 3, seed)) for seed in (1, 1, 2))
    for (images, masks), (same, like), (different, _) in zip(first, again, other, strict=True):
        assert torch.equal(images, same)
        assert torch.equal(masks, like)
        assert not torch.equal(images, different)


# Network


@pytest.mark.parametrize("kind", [AlexNet, LabAlexNet])
@pytest.mark.parametrize("sides", [(64, 64), (50, 87)])
def test_scores_have_the_images_size(kind, sides):
    net = Fcn(small_backbone(kind), 21)
    assert net(torch.rand(2, 3, *sides)).shape == (2, 21, *sides)
    assert net(torch.rand(2, 3, *sides)).eq(0).all()  # the last layer starts at zero


def test_full_resolution_supports_small_images():
    torch.manual_seed(3)
    net = Fcn(AlexNet(ModelConfig(width=0.05, resolution="full"), 64).eval(), 21)
    assert net(torch.rand(1, 3, 20, 70)).shape == (1, 21, 20, 70)


@pytest.mark.parametrize("zoom", [0.5, 1.0])
def test_scores_are_at_the_centers_of_receptive_fields(zoom):
    """A score is that of the pixel at the center of its receptive field, at any zoom."""
    net = Fcn(small_backbone(), 1, zoom)
    torch.nn.init.normal_(net.score.weight)
    original = torch.randint(256, (3, 128, 128), dtype=torch.uint8)
    image = original[None] / 255
    if zoom != 1:
        image = interpolate(image, scale_factor=zoom, mode="bilinear", antialias=True).clamp(0, 1)
    places = net.score(net.backbone.maps(image, "fc7"))[0, 0]
    step, first = net.backbone.grid("fc7")
    scores = net.pixels(original)[0]
    at = (first + step * torch.arange(1, len(places) - 1) + 0.5) / zoom - 0.5  # of pixels, perhaps between two
    low = at.floor().long()
    part = at - low
    row = scores[:, low] * (1 - part) + scores[:, low + 1] * part
    column = row[low] * (1 - part).unsqueeze(1) + row[low + 1] * part.unsqueeze(1)
    error = (column - places[1:-1, 1:-1]).abs().max() / places.std()
    assert error < (1e-4 if zoom == 1 else 0.05)  # interpolation between pixels


def test_statistics_are_recomputed_and_then_frozen(made):
    net = Fcn(small_backbone(), 21)
    batches = [images for images, _ in sample_batches(made[0], QUICK, 3, 0)]
    norm, seen = net.backbone.conv1.norm, []
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean((0, 2, 3))))
    net.recompute_statistics(batches)
    hook.remove()
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(0))
    assert not norm.training
    assert norm.momentum == 0.1
    before = norm.running_mean.clone()
    net(batches[0])
    assert torch.equal(norm.running_mean, before)
    std = net.backbone.maps(torch.cat(batches), "fc7").std()
    assert 0.1 < std < 3  # 1,000 times less without recomputed statistics


# The task


def test_segmentation_learns_shapes_and_is_deterministic(made):
    train, test = made
    backbone = small_backbone()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    learnt = segment(backbone, train, test, QUICK, progress=False)
    untrained = segment(backbone, train, test, SegmentationConfig(steps=0, crop=64, batch=4), progress=False)
    assert len(learnt.losses) == 80
    assert sum(learnt.losses[-5:]) < 0.5 * sum(learnt.losses[:5])
    assert learnt.report.value > untrained.report.value + 20
    evaluated = {name for name, value in learnt.report.classes.items() if value is not None}
    assert evaluated >= {"background", NAMES[3], NAMES[20]}
    assert untrained.report.classes["background"] == pytest.approx(
        100 * float(untrained.counts[0, 0] / untrained.counts.sum())
    )
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())  # a copy was trained
    again = segment(backbone, train, test, QUICK, progress=False)
    assert again.losses == learnt.losses
    assert torch.equal(again.counts, learnt.counts)
    example = learnt.examples[0]
    assert example.prediction.shape == example.truth.shape == voc.read_image_and_mask(test[0])[1].shape


def test_every_layer_is_fine_tuned(made):
    net = Fcn(small_backbone(), 21)
    torch.nn.init.normal_(net.score.weight, std=0.01)
    images, masks = next(sample_batches(made[0], QUICK, 1, 0))
    pixel_loss(net(images), masks).backward()
    for name, value in net.named_parameters():
        assert value.grad.abs().sum() > 0, name


def test_evaluation_counts_each_pixel_once(made):
    counts, examples = evaluate(Fcn(small_backbone(), 21), made[1], progress=False)
    masks = [voc.read_image_and_mask(item)[1] for item in made[1]]
    assert int(counts.sum()) == sum(int((mask != IGNORE_INDEX).sum()) for mask in masks)
    assert len(examples) == 6


def test_learning_rate_schedule(made, monkeypatch):
    rates = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, *a: (rates.append(self.param_groups[0]["lr"]), step(self, *a))[1]
    )
    config = SegmentationConfig(steps=9, batch=2, crop=32, lr=1e-3)
    segment(small_backbone(), made[0], made[1][:1], config, progress=False)
    assert rates == pytest.approx([1e-3] * 3 + [1e-4] * 3 + [1e-5] * 3)


def test_report_of_a_run_is_saved(tiny_run, made, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        "codial.evaluate.transfer.report.write_report", lambda run, name, values: saved.update({name: values})
    )
    config = SegmentationConfig(steps=1, batch=2, crop=32)
    found = segment(tiny_run, made[0], made[1][:2], config, progress=False)
    written = json.loads(json.dumps(saved[NAME]))
    assert written["metric"] == "mIoU"
    assert written["value"] == found.report.value
    assert list(written["classes"]) == ["background", *voc.CLASSES]
    assert "2 masks" in written["test"]


def test_invalid_input_raises(made):
    train, test = made
    with pytest.raises(CodialError, match="There are 0 training and 6 test images; expected at least one of each"):
        segment(small_backbone(), [], test)
    for changes, message in (
        ({"crop": 100}, "crop is 100; expected a multiple of 32"),
        ({"steps": -1}, "steps is -1"),
        ({"batch": 0}, "batch is 0"),
        ({"lr": 0.0}, "lr, zoom and scales above 0"),
        ({"scales": (2.0, 0.5)}, "lr, zoom and scales above 0"),
    ):
        with pytest.raises(CodialError, match=message):
            SegmentationConfig(**changes)
    with pytest.raises(
        CodialError, match=r"^NaN or infinite loss at step \d+: (nan|inf)\. Use a learning rate below 1e\+06"
    ):
        segment(small_backbone(), train, test, SegmentationConfig(steps=20, batch=2, crop=32, lr=1e6), progress=False)
