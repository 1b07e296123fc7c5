import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import codial
from codial import ProbeConfig, ProbeReport, probe
from codial.config import ModelConfig
from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate.features import layer_features
from codial.evaluate.probes.cached import fit, group_layers, standardize
from codial.evaluate.probes.targets import Labels, Tags
from codial.models import AlexNet
from codial.models.alexnet import CONV_LAYERS
from codial.training.monitors import knn_accuracy

CACHED = sys.modules["codial.evaluate.probes.cached"]
QUICK = ProbeConfig(layers=("conv5",), epochs=5, seeds=(0,))


class Transparent(AlexNet):
    """A backbone whose layers are the image itself, conv1 as a map and fc7 as a vector, with scaled channels."""

    def __init__(self, size, scale=1.0):
        super().__init__(ModelConfig(width=0.05), 16)
        self.size, self.scale = size, scale

    def features(self, images, layers=("conv1", "fc7")):
        stretched = (images * torch.tensor([1.0, 3.0, 0.5]).view(1, 3, 1, 1) + 0.3) * self.scale
        return {name: stretched if name == "conv1" else stretched.flatten(1) for name in layers}


def clouds(seed, count, classes=5, side=4, wide=0.12):
    """Return images with noise around one image per class; classes overlap."""
    generator = torch.Generator().manual_seed(7)
    centers = 0.5 + 0.04 * torch.randn(classes, 3, side, side, generator=generator)
    generator.manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    images = centers[labels] + wide * torch.randn(count, 3, side, side, generator=generator)
    names = tuple(f"class {c}" for c in range(classes))
    return ImageSet("clouds", "train", (255 * images.clamp(0, 1)).round().to(torch.uint8), labels, names)


@pytest.fixture(scope="module")
def thousands(seed):
    """1,000 training and 1,000 test images, so that 0.1 percentage points are one image."""
    return [codial.load_images("photos", split, limit=1000, seed=seed) for split in ("train", "test")]


def standardized(train, test, axes):
    """Compute `standardize` in float64: means per dimension, variances over axes, vectors of length 1."""
    mean = train.mean(0, keepdims=True)
    variance = np.square(train - mean).mean(axes, keepdims=True)
    scale = np.sqrt(variance + 0.01 * variance.mean()) * train[0].size ** 0.5
    return (((x - mean) / scale).reshape(len(x), -1) for x in (train, test))


def logistic_regression(train, labels, test, weight_decay):
    """Predict with scikit-learn's logistic regression and the probe's penalty, C = 1 / weight decay."""
    model = LogisticRegression(C=1 / weight_decay, max_iter=5000).fit(train, labels)
    return model.predict(test)


# Accuracy


@pytest.mark.numbers("probes against scikit-learn")
@pytest.mark.parametrize("layer", ["conv1", "fc7"])
def test_probe_matches_scikit_learn_on_synthetic_images(layer):
    """Maps are standardized per channel, vectors per dimension."""
    train, test = clouds(1, 1000), clouds(2, 2000)
    config = ProbeConfig(layers=(layer,), mirror=False, epochs=60, seeds=(0, 1), weight_decay=1e-4 * len(train))
    report = probe(Transparent(4), train, test, config, progress=False)
    vectors = (Transparent(4).features(images.images.double() / 255)[layer].numpy() for images in (train, test))
    x, test_x = standardized(*vectors, axes=(0, 2, 3) if layer == "conv1" else 0)
    correct = logistic_regression(x, train.labels.numpy(), test_x, config.weight_decay) == test.labels.numpy()
    assert 60 < 100 * correct.mean() < 95, "neither at chance nor too easy"
    assert report.mean(layer) == pytest.approx(100 * correct.mean(), abs=1.5)
    assert report.std(layer) < 1.0
    assert report.dims == {layer: 48}


@pytest.mark.numbers("probes against scikit-learn")
def test_probe_matches_scikit_learn_on_photos(photos, seed):
    """A layer of random weights, with enough steps to converge on 320 images."""
    torch.manual_seed(seed)
    backbone = AlexNet(ModelConfig(width=0.1), 32).eval()
    config = ProbeConfig(layers=("conv2",), mirror=False, epochs=300, batch=160, seeds=(0,), weight_decay=0.032)
    report = probe(backbone, photos["train"], photos["test"], config, progress=False)
    vectors = [codial.features(backbone, photos[split], "conv2", progress=False) for split in ("train", "test")]
    maps = (x.view(len(x), -1, 4 * 4).double().numpy() for x in vectors)
    x, test_x = standardized(*maps, axes=(0, 2))
    predicted = logistic_regression(x, photos["train"].labels.numpy(), test_x, config.weight_decay)
    expected = 100 * (predicted == photos["test"].labels.numpy()).mean()
    assert expected > 40
    assert report.mean("conv2") == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("scale", [1e-7, 1e3])
def test_accuracy_does_not_depend_on_the_scale_of_a_layer(scale):
    """Activations of random weights may be a million times smaller than those of trained ones."""
    train, test = clouds(1, 400), clouds(2, 400)
    config = replace(QUICK, layers=("conv1",), mirror=False)
    plain = probe(Transparent(4), train, test, config, progress=False)
    scaled = probe(Transparent(4, scale), train, test, config, progress=False)
    assert scaled.mean("conv1") == pytest.approx(plain.mean("conv1"), abs=0.6)


def test_a_layers_result_does_not_depend_on_other_layers():
    train, test = clouds(1, 400), clouds(2, 1000)
    config = replace(QUICK, layers=("fc7", "conv1"), mirror=False, epochs=10, seeds=(0, 1))
    together = probe(Transparent(4), train, test, config, progress=False)
    alone = probe(Transparent(4), train, test, replace(config, layers=("conv1",)), progress=False)
    assert together.accuracies["conv1"] == alone.accuracies["conv1"]
    assert together.accuracies["fc7"] != together.accuracies["conv1"]


def test_layers_that_exceed_memory_are_probed_in_several_passes(tiny_run, few, monkeypatch):
    config = ProbeConfig(epochs=2, seeds=(0, 1))
    together = probe(tiny_run, few, few, config, progress=False)
    passes = []
    monkeypatch.setattr(CACHED, "layer_features", lambda *a, **k: passes.append(k["layers"]) or layer_features(*a, **k))
    most = max(together.dims.values()) * len(few) * 3 * 4  # plain, mirrored and test images, four bytes each
    monkeypatch.setattr(CACHED, "free_memory", lambda place: 2 * most)
    assert probe(tiny_run, few, few, config, progress=False) == together
    assert len(set(passes)) > 2
    assert [name for layers in passes[1::3] for name in layers] == list(CONV_LAYERS)


def test_group_layers_uses_half_of_the_memory():
    needs = {"conv1": 50, "conv2": 30, "conv3": 15, "conv4": 15, "conv5": 10}
    assert group_layers(needs, 1000) == [tuple(needs)]
    assert group_layers(needs, 100) == [("conv1",), ("conv2", "conv3"), ("conv4", "conv5")]
    assert group_layers(needs, 80) == [("conv1",), ("conv2",), ("conv3", "conv4", "conv5")]


def test_layer_that_exceeds_memory_raises(monkeypatch):
    monkeypatch.setattr(CACHED, "free_memory", lambda place: 60_000)
    config = replace(QUICK, layers=("conv1", "fc7"))
    train = clouds(1, 200)
    expected = r"A probe of conv1 needs 0\.000154 GB for its features, but 6e-05 GB are free: use fewer images"
    with pytest.raises(CodialError, match=expected):
        probe(Transparent(4), train, clouds(2, 100), replace(config, mirror=True), progress=False)
    probe(Transparent(4), clouds(1, 60), clouds(2, 60), config, progress=False)


@pytest.mark.numbers("probes against scikit-learn")
@pytest.mark.slow
def test_probe_is_not_below_scikit_learns_recipe(thousands, seed):
    """scikit-learn's recipe is that of its user guide, with the same features standardized per dimension."""
    train, test = thousands
    torch.manual_seed(seed)
    backbone, layers = AlexNet(ModelConfig(width=0.1), 32).eval(), ("conv3", "conv4", "conv5")
    report = probe(backbone, train, test, ProbeConfig(layers=layers, mirror=False), progress=False)
    x, test_x = (layer_features(backbone, images, layers, progress=False) for images in (train, test))
    theirs = []
    for layer in layers:
        recipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        recipe.fit(x[layer].flatten(1).numpy(), train.labels.numpy())
        theirs.append(100 * recipe.score(test_x[layer].flatten(1).numpy(), test.labels.numpy()))
    assert min(theirs) > 40
    assert np.mean([report.mean(layer) for layer in layers]) > np.mean(theirs) - 0.5


def test_fit_matches_torchs_nesterov_sgd(generator):
    """Weights are those of autograd with torch's optimizer and schedule, and weight decay of the weights only."""
    x, labels = torch.randn(96, 12, generator=generator), torch.randint(3, (96,), generator=generator)
    config = ProbeConfig(epochs=4, batch=32, lr=0.5, weight_decay=2.0, precision="float32")
    weight, bias = fit([x], Labels(labels, 3), config, seed=5)

    generator = torch.Generator().manual_seed(5)
    linear = torch.nn.Linear(12, 3)
    torch.nn.init.normal_(linear.weight, std=0.01, generator=generator)
    torch.nn.init.zeros_(linear.bias)
    groups = [{"params": linear.weight, "weight_decay": 2.0 / 96}, {"params": linear.bias}]
    optimizer = torch.optim.SGD(groups, 0.5, 0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4 * 16)
    for _ in range(4):
        order = torch.randperm(96, generator=generator)
        torch.randint(1, (16,), generator=generator)
        for rows in order.split(6):  # a sixteenth
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(linear(x[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    torch.testing.assert_close(weight, linear.weight.detach())
    torch.testing.assert_close(bias, linear.bias.detach())


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_training_vectors_have_the_configured_precision(precision, generator):
    train, test = (torch.randn(40, 3, 4, 4, generator=generator) for _ in range(2))
    exact = standardize(train.clone(), test.clone())
    train_vectors, test_vectors = standardize(train, test, precision=precision)
    assert train_vectors.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    torch.testing.assert_close(train_vectors.float(), exact[0], rtol=2**-8 if precision == "bf16" else 0, atol=0)
    assert torch.equal(test_vectors, exact[1])


@pytest.mark.numbers("probes against scikit-learn")
def test_bfloat16_matches_float32(thousands, seed):
    torch.manual_seed(seed)
    backbone = AlexNet(ModelConfig(width=0.1), 32).eval()
    config = ProbeConfig(layers=("conv2", "conv5"))
    half, full = (
        probe(backbone, *thousands, replace(config, precision=precision), progress=False)
        for precision in ("bf16", "float32")
    )
    assert (half.protocol.precision, full.protocol.precision) == ("bf16", "float32")
    for layer in config.layers:
        assert half.accuracies[layer] != full.accuracies[layer], "another precision"
        assert half.mean(layer) == pytest.approx(full.mean(layer), abs=0.2)


def test_small_datasets_converge_in_the_default_epochs(photos, seed):
    """Batches of 256 would give 320 images one step per epoch, too few to fit the training images."""
    torch.manual_seed(seed)
    backbone = AlexNet(ModelConfig(width=0.25), 64).eval()
    config = ProbeConfig(layers=("conv1", "conv5"), weight_decay=0.0)
    report = probe(backbone, photos["train"], photos["train"], config, progress=False)
    assert report.mean("conv1") > 98
    assert report.mean("conv5") > 90


def test_mirrored_images_are_trained_on():
    """Test images are mirrored, so only mirrored training images help."""
    train, test = clouds(1, 600, side=6, wide=0.03), clouds(2, 300, side=6, wide=0.03)
    mirrored = replace(test, images=test.images.flip(-1).contiguous())
    config = replace(QUICK, layers=("fc7",), epochs=40)
    with_mirror, without = (
        probe(Transparent(6), train, mirrored, replace(config, mirror=mirror), progress=False).mean("fc7")
        for mirror in (True, False)
    )
    assert with_mirror > 85
    assert without < 60


def test_random_weights_are_above_chance(photos, seed):
    """Eight classes, chance 12.5 %: random convolutions still respond to colors and edges."""
    torch.manual_seed(seed)
    backbone = AlexNet(ModelConfig(width=0.25), 48).eval()
    vectors = {split: codial.features(backbone, photos[split], progress=False) for split in photos}
    fold = torch.arange(480) >= 320
    labels = torch.cat((photos["train"].labels, photos["test"].labels))
    assert knn_accuracy(torch.cat((vectors["train"], vectors["test"])), labels, fold) > 35
    report = probe(backbone, photos["train"], photos["test"], replace(QUICK, epochs=20), progress=False)
    assert report.mean("conv5") > 35


# Tags


def tagged_clouds(seed, count):
    """Return noisy images to which each of four tags adds a pattern; a fifth of the tags is unknown."""
    generator = torch.Generator().manual_seed(7)
    marks = 0.04 * torch.randn(4, 3, 4, 4, generator=generator)
    generator.manual_seed(seed)
    tags = (torch.rand(count, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.8])).to(torch.int8)
    originals = 0.5 + torch.einsum("nt,tchw->nchw", tags.float(), marks)
    originals += 0.12 * torch.randn(count, 3, 4, 4, generator=generator)
    tags[torch.rand(count, 4, generator=generator) < 0.2] = -1
    images = (255 * originals.clamp(0, 1)).round().to(torch.uint8)
    names = ("blond", "smiling", "young", "beard")
    return ImageSet("faces", "train", images, torch.full((count,), -1), names, tags=tags)


@pytest.mark.numbers("probes against scikit-learn")
def test_tags_match_scikit_learn():
    """scikit-learn's logistic regressions, one per tag on images in which it is known, and its average precision."""
    train, test = tagged_clouds(1, 1000), tagged_clouds(2, 2000)
    config = ProbeConfig(layers=("conv1",), mirror=False, epochs=60, seeds=(0, 1), weight_decay=0.1)
    report = probe(Transparent(4), train, test, config, progress=False)
    vectors = (Transparent(4).features(images.images.double() / 255)["conv1"].numpy() for images in (train, test))
    x, test_x = standardized(*vectors, axes=(0, 2, 3))
    expected = []
    for tag in range(4):
        y, test_y = train.tags[:, tag].numpy(), test.tags[:, tag].numpy()
        model = LogisticRegression(C=1 / config.weight_decay, max_iter=5000)
        model.fit(x[y >= 0], y[y >= 0])
        scores = model.decision_function(test_x[test_y >= 0])
        expected.append(100 * average_precision_score(test_y[test_y >= 0], scores))
    shares = [100 * (test.tags[:, tag] == 1).sum() / (test.tags[:, tag] >= 0).sum() for tag in range(4)]
    assert np.mean(shares) + 10 < np.mean(expected) < 95, "neither at chance nor too easy"
    assert report.mean("conv1") == pytest.approx(np.mean(expected), abs=0.7)
    assert report.metric == "mAP"


def test_unknown_tags_are_ignored(generator):
    scores, tags = torch.randn(50, 3, generator=generator), torch.randint(0, 2, (50, 3), generator=generator)
    hidden = torch.rand(50, 3, generator=generator) < 0.3
    task = Tags(torch.where(hidden, -1, tags).to(torch.int8))
    scores.requires_grad_()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, tags.float(), reduction="none")
    (losses * ~hidden).sum(1).mean().backward()
    torch.testing.assert_close(task.gradient(scores.detach(), torch.arange(50)), scores.grad)
    other = torch.where(hidden, 100 * scores.detach(), scores.detach())
    assert task.score(other) == task.score(scores.detach())


def test_tags_with_labels_raise(photos):
    tags = torch.nn.functional.one_hot(photos["train"].labels, 8).to(torch.int8)
    with pytest.raises(CodialError, match=r"8 tags.*8 classes.*: expected labels in both, or tags in both"):
        probe(Transparent(4), replace(photos["train"], tags=tags), photos["test"], QUICK, progress=False)


# Repetition


def test_probe_is_deterministic(photos, seed):
    torch.manual_seed(seed)
    backbone = AlexNet(ModelConfig(width=0.1), 32).eval()
    config = replace(QUICK, seeds=(3, 4), batch=64)
    torch.manual_seed(1)
    first = probe(backbone, photos["train"], photos["test"], config, progress=False)
    torch.manual_seed(2)
    assert probe(backbone, photos["train"], photos["test"], config, progress=False) == first
    one = probe(backbone, photos["train"], photos["test"], replace(config, seeds=(4,)), progress=False)
    assert one.accuracies["conv5"] == first.accuracies["conv5"][1:]
    assert len(set(first.accuracies["conv5"])) == 2


def test_report_of_a_run_is_saved(tiny_run, few, photos, tmp_path):
    report = probe(tiny_run, few, photos["test"], replace(QUICK, layers=CONV_LAYERS), progress=False, device="cpu")
    path = tiny_run.folder / "evaluations" / "probe-photos.json"
    try:
        assert ProbeReport.load(path) == report
    finally:
        path.unlink()
        path.parent.rmdir()
    assert report.name == "tiny"
    assert report.config_hash == tiny_run.provenance["config_hash"]
    assert report.train == f"photos/train 24 {few.fingerprint}"
    assert report.test == f"photos/test 160 {photos['test'].fingerprint}"


# The report


@pytest.fixture
def report():
    accuracies = {"conv1": (50.0, 52.0, 54.0), "conv5": (60.0, 60.0, 63.0)}
    dims = {"conv1": 9600, "conv5": 4096}
    return ProbeReport("mine", accuracies, dims, ProbeConfig(), "a/train 1", "a/test 2", "cafe")


def test_report_has_mean_and_std_over_seeds(report):
    assert report.mean("conv1") == 52
    assert report.std("conv1") == pytest.approx(np.std([50, 52, 54], ddof=1))
    assert replace(report, accuracies={"conv1": (50.0,)}).std("conv1") == 0
    assert str(report) == "mine: conv1 52.0 ± 2.0, conv5 61.0 ± 1.7"


def test_report_round_trip(report, tmp_path):
    report.save(tmp_path / "new" / "report.json")
    assert ProbeReport.load(tmp_path / "new" / "report.json") == report
    assert ProbeReport.load(str(tmp_path / "new" / "report.json")).protocol == report.protocol


def test_older_reports_default_to_top_1_and_codials_protocol(report, tmp_path):
    replace(report, metric="mAP").save(tmp_path / "new.json")
    assert ProbeReport.load(tmp_path / "new.json").metric == "mAP"
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values.pop("metric") == "top-1"
    assert values["protocol"].pop("name") == "codial"
    (tmp_path / "report.json").write_text(json.dumps(values))
    assert ProbeReport.load(tmp_path / "report.json") == report


def test_older_reports_default_to_float32(report, tmp_path):
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    del values["protocol"]["precision"]
    (tmp_path / "report.json").write_text(json.dumps(values))
    assert ProbeReport.load(tmp_path / "report.json").protocol == replace(ProbeConfig(), precision="float32")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "3",
        lambda text: "{}",
        lambda text: json.dumps(json.loads(text) | {"protocol": []}),
        lambda text: json.dumps(json.loads(text) | {"protocol": {"speed": 3}}),
        lambda text: json.dumps(json.loads(text) | {"protocol": {"name": "linear"}}),
        lambda text: json.dumps(json.loads(text) | {"accuracies": None}),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "test"}),
    ],
)
def test_damaged_report_raises(damage, report, tmp_path):
    path = tmp_path / "report.json"
    report.save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(CodialError, match=r"report.json is not a probe report"):
        ProbeReport.load(path)


def test_missing_report_raises(tmp_path):
    with pytest.raises(CodialError, match=r"none.json is not a probe report"):
        ProbeReport.load(tmp_path / "none.json")


def test_description_has_all_settings():
    text = replace(ProbeConfig(), pool="max", epochs=7, seeds=(5,)).describe()
    for part in ("max-pooled", "9,000", "Nesterov momentum 0.9", "7 epochs", "batch 256", "mirrored", "1 probe seed"):
        assert part in text
    assert "bfloat16 if the device supports it" in text
    assert "float32" in replace(ProbeConfig(), precision="float32").describe()
    assert not text.endswith("seeds")
    assert "; top-1 accuracy in percent, 1 probe seed" in text
    assert "; mean average precision over tags in percent, 3 probe seeds" in ProbeConfig().describe("mAP")
    assert "mirrored" not in replace(ProbeConfig(), mirror=False).describe()


# Mistakes


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": ()},
        {"epochs": 0},
        {"batch": 0},
        {"dims": 0},
        {"lr": 0},
        {"pool": "mean"},
        {"precision": "fp8"},
    ],
)
def test_invalid_protocol_raises(wrong):
    with pytest.raises(
        CodialError,
        match=r"expected at least one seed, epoch|pool is 'mean'; expected avg or max|'fp8'; expected auto, b",
    ):
        ProbeConfig(**wrong)


def test_momentum_may_be_zero():
    report = probe(Transparent(4), clouds(1, 200), clouds(2, 200), replace(QUICK, layers=("fc7",), momentum=0.0))
    assert report.mean("fc7") > 30


def test_unlabeled_images_and_different_classes_raise(photos, tiny_run):
    train, test = photos["train"], photos["test"]
    unlabeled = ImageSet("mine", "all", test.images, torch.full((160,), -1), ())
    with pytest.raises(CodialError, match=r"mine/all.*has no labels; a probe needs them"):
        probe(tiny_run, train, unlabeled, QUICK, progress=False)
    partly = replace(train, labels=torch.where(torch.arange(320) == 5, -1, train.labels))
    with pytest.raises(CodialError, match=r"has no labels"):
        probe(tiny_run, partly, test, QUICK, progress=False)
    with pytest.raises(CodialError, match=r"^The classes differ: \('astronaut', .* in photos, \('class 0', "):
        probe(tiny_run, train, clouds(1, 20), QUICK, progress=False)
