"""The protocols of Zhang et al. and GlobStat: pooling, crops, schedules, optimization, and results on photos."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from codial import GlobStatProbe, ProbeReport, ZhangProbe, probe
from codial.config import ModelConfig
from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate.probes.crops import center_crops, random_crops
from codial.evaluate.probes.online import LayerClassifier
from codial.evaluate.probes.targets import Labels
from codial.evaluate.probes.zhang_globstat import average_pool
from codial.models import AlexNet
from codial.models.alexnet import CONV_LAYERS

SHORT = {"zhang": ZhangProbe(steps=60, batch=64, seeds=(0, 1)), "globstat": GlobStatProbe(epochs=10, seeds=(0, 1))}


@pytest.fixture(scope="module")
def backbone(seed):
    torch.manual_seed(seed)
    return AlexNet(ModelConfig(width=0.25), 64).eval()


# Pooling


def explicit_averages(maps, kernel, padding):
    """Average each kernel's positions inside the map in float64."""
    height, width = maps.shape[2:]
    if padding == "valid":
        rows, columns = height // kernel, width // kernel
        before = (0, 0)
    else:
        rows, columns = -(-height // kernel), -(-width // kernel)
        before = ((rows * kernel - height) // 2, (columns * kernel - width) // 2)
    out = np.empty((*maps.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * kernel - before[0], j * kernel - before[1]
            square = maps[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel].double()
            out[:, :, i, j] = square.mean((2, 3)).numpy()
    return out


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("side", "kernel"), [(16, 6), (8, 4), (4, 3), (24, 6), (7, 3), (5, 2), (3, 3), (13, 6)])
def test_average_pool_matches_explicit_sums(side, kernel, padding, generator):
    maps = torch.randn(2, 3, side, side, generator=generator)
    found = average_pool(maps, kernel, padding)
    np.testing.assert_allclose(found, explicit_averages(maps, kernel, padding), atol=1e-6)


def test_padding_is_ignored_and_small_maps_are_averaged_completely():
    ones = torch.ones(1, 1, 7, 7)
    assert torch.equal(average_pool(ones, 6, "same"), torch.ones(1, 1, 2, 2))
    assert torch.equal(average_pool(ones[..., :2, :2], 4, "valid"), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("size", "zhang", "globstat"),
    [
        (224, (9600, 9216, 9600, 9600, 9216), (9600, 12544, 9600, 9600, 12544)),
        (64, (9600, 9216, 6144, 6144, 4096), (864, 1024, 1536, 1536, 1024)),
    ],
)
def test_pooled_dimensions_are_the_published_ones(size, zhang, globstat):
    """By GlobStat's shapes: strides of 4, 2 and 2 with "same" padding. Maps are never enlarged."""
    channels, sides = (96, 256, 384, 384, 256), (size // 4, size // 8, size // 16, size // 16, size // 16)
    for layer, c, side, *expected in zip(CONV_LAYERS, channels, sides, zhang, globstat, strict=True):
        maps = torch.ones(1, c, side, side)
        assert [p.pooled(layer, maps).numel() for p in (ZhangProbe(), GlobStatProbe())] == expected


def test_zhang_pools_over_equal_blocks(generator):
    maps = torch.randn(2, 3, 20, 20, generator=generator)
    expected = maps.view(2, 3, 10, 2, 10, 2).mean((3, 5))
    torch.testing.assert_close(ZhangProbe().pooled("conv1", maps), expected)
    assert ZhangProbe().pooled("conv5", maps).shape == (2, 3, 6, 6)


# Crops


def test_random_crops_are_regions_of_the_image(photos, generator):
    """Crops of two thirds of 48 pixels are regions of their image at integer positions, plain or mirrored."""
    images = photos["train"].images[:40, :, 8:56, 4:60].contiguous()  # 48 x 56
    crops = random_crops(images, 2 / 3, 32, generator)
    assert crops.shape == (40, 3, 32, 32)
    corners, flips = set(), 0
    windows = (images[..., 4:52] / 255).unfold(2, 32, 1).unfold(3, 32, 1)  # of the central square
    for crop, image in zip(crops, windows, strict=True):
        plain, mirrored = ((image - c[:, None, None]).abs().amax((0, 3, 4)) for c in (crop, crop.flip(-1)))
        distance = torch.minimum(plain, mirrored)
        assert distance.min() < 1e-5
        corners.add(divmod(int(distance.argmin()), 17))
        flips += int(mirrored.min() < plain.min())
    assert 10 < flips < 30
    assert {0, 1} & {y for y, _ in corners}
    assert {15, 16} & {x for _, x in corners}, "crops reach the edges"


def test_center_crops_are_the_center(photos):
    images = photos["test"].images[:8]
    expected = images[..., 11:53, 11:53] / 255  # 11 pixels from the edges
    found = center_crops(images, 42 / 64, 42)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# Schedule and sums


def test_learning_rates_change_at_the_published_steps():
    zhang, globstat = ZhangProbe(), GlobStatProbe()
    assert [zhang.rate(s, zhang.steps_for(5)) for s in (0, 39_999, 40_000, 79_999, 80_000, 119_999, 120_000)] == [
        1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5,
    ]  # fmt: skip
    steps = globstat.steps_for(5000)
    assert steps == 900 * 78
    for part, before, after in ((0.08, 0.1, 0.01), (0.4, 0.01, 0.002), (0.7, 0.002, 0.0004), (0.9, 0.0004, 0.00008)):
        assert globstat.rate(round(part * steps) - 1, steps) == before
        assert globstat.rate(round(part * steps), steps) == after
    assert globstat.rate(steps - 1, steps) == 0.00008
    assert [replace(zhang, steps=7).rate(s, 7) for s in range(7)] == [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5]


@pytest.mark.parametrize("config", [ZhangProbe(), GlobStatProbe()], ids=lambda c: c.name)
def test_layer_classifier_matches_torchs_batch_norm_and_sgd(config, generator):
    """The same classifier by autograd and torch's batch norm, at a constant learning rate."""
    batches, labels = torch.randn(6, 32, 5, 2, 2, generator=generator), torch.randint(3, (32,), generator=generator)
    batches /= batches[0].square().mean().sqrt()  # as the classifier does
    classifier = LayerClassifier(batches[0], 3, config, torch.Generator().manual_seed(5))
    norm = torch.nn.BatchNorm2d(5, config.norm_eps, momentum=None, affine=False)  # plain means over so few batches
    linear = torch.nn.Linear(20, 3)
    linear.weight.data, linear.bias.data = classifier.weight.clone(), classifier.bias.clone()
    groups = [{"params": linear.weight, "weight_decay": 5e-4}, {"params": linear.bias, "lr": 0.05 * config.bias_rate}]
    optimizer = torch.optim.SGD(groups, 0.05, 0.9, nesterov=config.nesterov)
    for maps in batches:
        classifier.step(maps, Labels(labels, 3), torch.arange(32), 0.05)
        optimizer.zero_grad()
        cross_entropy(linear(norm(maps).flatten(1)), labels).backward()
        optimizer.step()
    torch.testing.assert_close(classifier.weight, linear.weight.detach())
    torch.testing.assert_close(classifier.bias, linear.bias.detach())
    norm.eval()
    expected = linear(norm(batches[0]).flatten(1)).detach()
    torch.testing.assert_close(classifier.scores(classifier.vectors(batches[0], training=False)), expected)


def test_running_statistics_have_the_published_momentum(generator):
    """After 40 batches, GlobStat's decay of 0.975 applies."""
    classifier = LayerClassifier(torch.ones(4, 1, 1, 1), 2, GlobStatProbe(), generator)
    for value in [1.0] * 40 + [3.0]:
        classifier.vectors(torch.full((4, 1, 1, 1), value), training=True)
    assert classifier.mean.item() == pytest.approx(0.975 * 1 + 0.025 * 3)


# On real images


@pytest.mark.parametrize("name", SHORT)
def test_random_weights_are_above_chance(name, backbone, photos, tmp_path):
    """Eight classes, chance 12.5 %, with a hundredth of the published length."""
    report = probe(backbone, photos["train"], photos["test"], SHORT[name], progress=False)
    assert min(report.mean(layer) for layer in CONV_LAYERS) > 30
    assert max(report.mean(layer) for layer in CONV_LAYERS) > 45
    assert 0 < sum(report.std(layer) for layer in CONV_LAYERS) / 5 < 8
    report.save(tmp_path / "report.json")
    assert ProbeReport.load(tmp_path / "report.json") == report


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_accuracy_does_not_depend_on_the_scale_of_a_layer(scale, backbone, photos):
    class Scaled(AlexNet):
        def features(self, images, layers=CONV_LAYERS):
            return {name: maps * scale for name, maps in super().features(images, layers).items()}

    scaled = Scaled(ModelConfig(width=0.25), 64)
    scaled.load_state_dict(backbone.state_dict())
    config = ZhangProbe(layers=("conv1",), steps=20, batch=32, seeds=(0,), precision="float32")
    plain, other = (
        probe(t, photos["train"], photos["test"], config, progress=False) for t in (backbone, scaled.eval())
    )
    assert other.mean("conv1") == pytest.approx(plain.mean("conv1"), abs=1)


def test_probe_is_deterministic_and_does_not_change_the_backbone(backbone, few, photos):
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    config = ZhangProbe(steps=5, batch=16, seeds=(3, 4))
    first = probe(backbone, few, photos["test"], config, progress=False)
    assert probe(backbone, few, photos["test"], config, progress=False) == first
    one = probe(backbone, few, photos["test"], replace(config, layers=("conv5",), seeds=(4,)), progress=False)
    assert one.accuracies["conv5"] == first.accuracies["conv5"][1:], "independent of other layers"
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_batch_larger_than_the_dataset(backbone, few, photos):
    report = probe(backbone, few, photos["test"], GlobStatProbe(epochs=2, seeds=(0,)), progress=False)
    assert set(report.accuracies) == set(CONV_LAYERS)


def test_tags_are_supported(backbone, photos):
    """Classes as one-hot tags."""
    tagged = {
        split: ImageSet("photos", split, s.images, torch.full((len(s),), -1), s.classes, tags=as_tags(s))
        for split, s in photos.items()
    }
    report = probe(backbone, tagged["train"], tagged["test"], SHORT["zhang"], progress=False)
    assert report.metric == "mAP"
    assert report.mean("conv2") > 40  # chance is a class's share, an eighth


def as_tags(images):
    return torch.nn.functional.one_hot(images.labels, len(images.classes)).to(torch.int8)


def test_report_of_a_run_is_named_after_the_protocol(tiny_run, few, photos):
    config = GlobStatProbe(epochs=1, seeds=(0,))
    report = probe(tiny_run, few, photos["test"], config, progress=False, device="cpu")
    path = tiny_run.folder / "evaluations" / "probe-photos-globstat.json"
    try:
        assert ProbeReport.load(path) == report
    finally:
        path.unlink()
        path.parent.rmdir()


# Descriptions and settings


def test_descriptions_have_all_settings():
    whole, short = ZhangProbe().describe(), ZhangProbe(steps=500, seeds=(0,)).describe("mAP")
    for part in (
        "Zhang et al. 2016", "10, 6, 5, 5, 6", "140,000 steps", "0.01, 0.001, 0.0001, 1e-05", "28.6, 57.1, 85.7 %",
        "biases' rate times 2", "batch 256", "weight decay 0.0005", "top-1 accuracy in percent, 3 probe seeds",
    ):  # fmt: skip
        assert part in whole
    assert "original" not in whole
    assert "500 steps, where the original has 140,000" in short
    assert short.endswith("mean average precision over tags in percent, 1 probe seed")
    globstat = replace(GlobStatProbe(), layers=("conv1", "conv2")).describe()
    for part in ("6 (same), 4 (valid),", "Nesterov", "900 epochs", "8, 40, 70, 90 %", "batch 64", "0.667 of the side"):
        assert part in globstat


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (ZhangProbe, {"steps": 0}, r"at least one seed, one step, two images per batch"),
        (GlobStatProbe, {"epochs": 0}, r"at least one seed, one epoch, two images per batch"),
        (GlobStatProbe, {"seeds": ()}, r"at least one seed"),
        (GlobStatProbe, {"crop": 1.5}, r"crop in \(0, 1\]"),
        (GlobStatProbe, {"precision": "fp8"}, r"'fp8'; expected auto"),
        (GlobStatProbe, {"rates": (0.1,)}, r"expected one rate more"),
        (GlobStatProbe, {"padding": ("same",)}, r"padding are \('same',\); expected 5"),
        (GlobStatProbe, {"padding": ("full",) * 5}, r"expected same or valid"),
        (ZhangProbe, {"sides": (1, 2)}, r"sides are \(1, 2\); expected 5"),
    ],
)
def test_invalid_settings_raise(kind, wrong, message):
    with pytest.raises(CodialError, match=message):
        kind(**wrong)


@pytest.mark.parametrize("kind", [ZhangProbe, GlobStatProbe])
def test_a_layer_without_maps_is_refused(kind, backbone, few):
    with pytest.raises(CodialError, match=r"layers are fc7; expected some of conv1, .*, conv5, whose activations are"):
        probe(backbone, few, few, kind(layers=("fc7",)), progress=False)
