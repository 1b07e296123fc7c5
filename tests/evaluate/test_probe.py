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
from codial.evaluate.cached import fit, groups, standardise
from codial.evaluate.features import taps
from codial.evaluate.task import Labels, Tags
from codial.models import CONV_TAPS, AlexNet
from codial.monitors import knn_accuracy

CACHED = sys.modules["codial.evaluate.cached"]
QUICK = ProbeConfig(layers=("conv5",), epochs=5, seeds=(0,))


class Transparent(AlexNet):
    """A trunk whose taps are the picture itself, conv1 as a map and fc7 as a vector; channels differ in scale."""

    def __init__(self, size, scale=1.0):
        super().__init__(ModelConfig(width=0.05), 16)
        self.size, self.scale = size, scale

    def taps(self, images, names=("conv1", "fc7")):
        stretched = (images * torch.tensor([1.0, 3.0, 0.5]).view(1, 3, 1, 1) + 0.3) * self.scale
        return {name: stretched if name == "conv1" else stretched.flatten(1) for name in names}


def clouds(seed, count, classes=5, side=4, wide=0.12):
    """Pictures that are noise around one picture a class; the classes overlap."""
    generator = torch.Generator().manual_seed(7)
    centres = 0.5 + 0.04 * torch.randn(classes, 3, side, side, generator=generator)
    generator.manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    pictures = centres[labels] + wide * torch.randn(count, 3, side, side, generator=generator)
    names = tuple(f"class {c}" for c in range(classes))
    return ImageSet("clouds", "train", (255 * pictures.clamp(0, 1)).round().to(torch.uint8), labels, names)


@pytest.fixture(scope="module")
def thousands(seed):
    """Real pictures, 1,000 to learn from and 1,000 to be judged on: a tenth of a point is a picture."""
    return [codial.load_images("photos", split, limit=1000, seed=seed) for split in ("train", "test")]


def standardised(known, asked, axes):
    """Batch norm without scale and shift by hand in float64, then vectors of length 1; means are each number's own.

    A hundredth of the mean variance keeps channels that hardly vary from being blown up.
    """
    mean = known.mean(0, keepdims=True)
    variance = np.square(known - mean).mean(axes, keepdims=True)
    scale = np.sqrt(variance + 0.01 * variance.mean()) * known[0].size ** 0.5
    return (((x - mean) / scale).reshape(len(x), -1) for x in (known, asked))


def logistic_regression(known, labels, asked, weight_decay):
    """scikit-learn's, on the probe's features and with its penalty: C = 1 / weight decay."""
    fitted = LogisticRegression(C=1 / weight_decay, max_iter=5000).fit(known, labels)
    return fitted.predict(asked)


# Accuracy


@pytest.mark.numbers("probes against scikit-learn")
@pytest.mark.parametrize("layer", ["conv1", "fc7"])
def test_it_reads_as_well_as_scikit_learns_logistic_regression(layer):
    """A map is standardised by its channels, a vector number by number."""
    train, test = clouds(1, 1000), clouds(2, 2000)
    config = ProbeConfig(layers=(layer,), mirror=False, epochs=60, seeds=(0, 1), weight_decay=1e-4 * len(train))
    report = probe(Transparent(4), train, test, config, progress=False)
    taps = (Transparent(4).taps(images.images.double() / 255)[layer].numpy() for images in (train, test))
    known, asked = standardised(*taps, axes=(0, 2, 3) if layer == "conv1" else 0)
    right = logistic_regression(known, train.labels.numpy(), asked, config.weight_decay) == test.labels.numpy()
    assert 60 < 100 * right.mean() < 95, "neither chance nor too easy"
    assert report.mean(layer) == pytest.approx(100 * right.mean(), abs=1.5)
    assert report.spread(layer) < 1.0
    assert report.dims == {layer: 48}


@pytest.mark.numbers("probes against scikit-learn")
def test_real_features_are_read_as_well_as_by_logistic_regression(photos, seed):
    """A layer of random weights on real pictures, with as many steps as 320 pictures need to converge."""
    torch.manual_seed(seed)
    trunk = AlexNet(ModelConfig(width=0.1), 32).eval()
    config = ProbeConfig(layers=("conv2",), mirror=False, epochs=300, batch=160, seeds=(0,), weight_decay=0.032)
    report = probe(trunk, photos["train"], photos["test"], config, progress=False)
    known, asked = (codial.features(trunk, photos[split], "conv2", progress=False) for split in ("train", "test"))
    maps = (x.view(len(x), -1, 4 * 4).double().numpy() for x in (known, asked))
    known, asked = standardised(*maps, axes=(0, 2))
    right = logistic_regression(known, photos["train"].labels.numpy(), asked, config.weight_decay)
    expected = 100 * (right == photos["test"].labels.numpy()).mean()
    assert expected > 40
    assert report.mean("conv2") == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("scale", [1e-7, 1e3])
def test_the_scale_of_a_layer_does_not_matter(scale):
    """Random weights put out a millionth of what trained ones do; both must be read alike."""
    train, test = clouds(1, 400), clouds(2, 400)
    config = replace(QUICK, layers=("conv1",), mirror=False)
    plain = probe(Transparent(4), train, test, config, progress=False)
    scaled = probe(Transparent(4, scale), train, test, config, progress=False)
    assert scaled.mean("conv1") == pytest.approx(plain.mean("conv1"), abs=0.6)


def test_layers_are_probed_side_by_side_exactly_as_alone():
    train, test = clouds(1, 400), clouds(2, 1000)
    config = replace(QUICK, layers=("fc7", "conv1"), mirror=False, epochs=10, seeds=(0, 1))
    together = probe(Transparent(4), train, test, config, progress=False)
    alone = probe(Transparent(4), train, test, replace(config, layers=("conv1",)), progress=False)
    assert together.accuracies["conv1"] == alone.accuracies["conv1"]
    assert together.accuracies["fc7"] != together.accuracies["conv1"]


def test_layers_that_do_not_fit_together_are_probed_one_after_another_to_the_same_numbers(tiny_run, few, monkeypatch):
    config = ProbeConfig(epochs=2, seeds=(0, 1))
    together = probe(tiny_run, few, few, config, progress=False)
    passes = []
    monkeypatch.setattr(CACHED, "taps", lambda *a, **k: passes.append(k["layers"]) or taps(*a, **k))
    most = max(together.dims.values()) * len(few) * 3 * 4  # two sides learnt from, one judged, four bytes each
    monkeypatch.setattr(CACHED, "free_memory", lambda place: 2 * most)
    assert probe(tiny_run, few, few, config, progress=False) == together
    assert len(set(passes)) > 2
    assert [name for layers in passes[1::3] for name in layers] == list(CONV_TAPS)


def test_layers_are_grouped_into_as_few_passes_as_fit_in_half_the_memory():
    needs = {"conv1": 50, "conv2": 30, "conv3": 15, "conv4": 15, "conv5": 10}
    assert groups(needs, 1000) == [tuple(needs)]
    assert groups(needs, 100) == [("conv1",), ("conv2", "conv3"), ("conv4", "conv5")]
    assert groups(needs, 80) == [("conv1",), ("conv2",), ("conv3", "conv4", "conv5")]


def test_a_layer_that_does_not_fit_is_refused_before_memory_runs_out(monkeypatch):
    monkeypatch.setattr(CACHED, "free_memory", lambda place: 60_000)
    config = replace(QUICK, layers=("conv1", "fc7"))
    train = clouds(1, 200)
    expected = r"A probe of conv1 takes 0\.000154 GB for its features, and 6e-05 GB are free: take fewer pictures"
    with pytest.raises(CodialError, match=expected):
        probe(Transparent(4), train, clouds(2, 100), replace(config, mirror=True), progress=False)
    probe(Transparent(4), clouds(1, 60), clouds(2, 60), config, progress=False)


@pytest.mark.numbers("probes against scikit-learn")
@pytest.mark.slow
def test_untrained_layers_are_read_as_well_as_by_scikit_learns_recipe(thousands, seed):
    """Both are given the same features; the recipe is that of its guide, each number standardised for itself."""
    train, test = thousands
    torch.manual_seed(seed)
    trunk, layers = AlexNet(ModelConfig(width=0.1), 32).eval(), ("conv3", "conv4", "conv5")
    report = probe(trunk, train, test, ProbeConfig(layers=layers, mirror=False), progress=False)
    known, asked = (codial.evaluate.taps(trunk, images, layers, progress=False) for images in (train, test))
    theirs = []
    for layer in layers:
        recipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        recipe.fit(known[layer].flatten(1).numpy(), train.labels.numpy())
        theirs.append(100 * recipe.score(asked[layer].flatten(1).numpy(), test.labels.numpy()))
    assert min(theirs) > 40
    assert np.mean([report.mean(layer) for layer in layers]) > np.mean(theirs) - 0.5


def test_it_is_torchs_nesterov_descent(generator):
    """The same weights as by autograd and torch's own optimiser and schedule, with decay of the weights alone."""
    x, labels = torch.randn(96, 12, generator=generator), torch.randint(3, (96,), generator=generator)
    config = ProbeConfig(epochs=4, batch=32, lr=0.5, weight_decay=2.0, precision="float32")
    weight, bias = fit([x], Labels(labels, 3), config, seed=5)

    generator = torch.Generator().manual_seed(5)
    linear = torch.nn.Linear(12, 3)
    torch.nn.init.normal_(linear.weight, std=0.01, generator=generator)
    torch.nn.init.zeros_(linear.bias)
    groups = [{"params": linear.weight, "weight_decay": 2.0 / 96}, {"params": linear.bias}]
    optimiser = torch.optim.SGD(groups, 0.5, 0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4 * 16)
    for _ in range(4):
        order = torch.randperm(96, generator=generator)
        torch.randint(1, (16,), generator=generator)
        for chosen in order.split(6):  # a sixteenth
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(linear(x[chosen]), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    torch.testing.assert_close(weight, linear.weight.detach())
    torch.testing.assert_close(bias, linear.bias.detach())


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_what_is_learnt_from_is_kept_in_the_precision_asked_for(precision, generator):
    known, asked = (torch.randn(40, 3, 4, 4, generator=generator) for _ in range(2))
    exact = standardise(known.clone(), asked.clone())
    vectors, queries = standardise(known, asked, precision=precision)
    assert vectors.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    torch.testing.assert_close(vectors.float(), exact[0], rtol=2**-8 if precision == "bf16" else 0, atol=0)
    assert torch.equal(queries, exact[1])


@pytest.mark.numbers("probes against scikit-learn")
def test_half_the_digits_read_as_well(thousands, seed):
    torch.manual_seed(seed)
    trunk = AlexNet(ModelConfig(width=0.1), 32).eval()
    config = ProbeConfig(layers=("conv2", "conv5"))
    half, full = (
        probe(trunk, *thousands, replace(config, precision=precision), progress=False)
        for precision in ("bf16", "float32")
    )
    assert (half.protocol.precision, full.protocol.precision) == ("bf16", "float32")
    for layer in config.layers:
        assert half.accuracies[layer] != full.accuracies[layer], "another precision"
        assert half.mean(layer) == pytest.approx(full.mean(layer), abs=0.2)


def test_few_pictures_are_fitted_in_the_default_epochs(photos, seed):
    """320 pictures at 256 a step would be one step an epoch, too few even for the pictures that it learns from."""
    torch.manual_seed(seed)
    trunk = AlexNet(ModelConfig(width=0.25), 64).eval()
    config = ProbeConfig(layers=("conv1", "conv5"), weight_decay=0.0)
    report = probe(trunk, photos["train"], photos["train"], config, progress=False)
    assert report.mean("conv1") > 98
    assert report.mean("conv5") > 90


def test_mirrored_pictures_are_learnt_too():
    """Every picture is asked for the other way round: only mirrored copies tell how those look."""
    train, asked = clouds(1, 600, side=6, wide=0.03), clouds(2, 300, side=6, wide=0.03)
    turned = replace(asked, images=asked.images.flip(-1).contiguous())
    config = replace(QUICK, layers=("fc7",), epochs=40)
    with_mirror, without = (
        probe(Transparent(6), train, turned, replace(config, mirror=mirror), progress=False).mean("fc7")
        for mirror in (True, False)
    )
    assert with_mirror > 85
    assert without < 60


def test_random_weights_on_real_pictures_are_well_above_chance(photos, seed):
    """Eight classes, chance 12.5 %: a random convolution still sees colours and edges."""
    torch.manual_seed(seed)
    trunk = AlexNet(ModelConfig(width=0.25), 48).eval()
    vectors = {split: codial.features(trunk, photos[split], progress=False) for split in photos}
    fold = torch.arange(480) >= 320
    labels = torch.cat((photos["train"].labels, photos["test"].labels))
    assert knn_accuracy(torch.cat((vectors["train"], vectors["test"])), labels, fold) > 35
    report = probe(trunk, photos["train"], photos["test"], replace(QUICK, epochs=20), progress=False)
    assert report.mean("conv5") > 35


# Tags


def tagged_clouds(seed, count):
    """Noise around a picture, in which each of four tags adds a picture of its own; a fifth of the tags is unknown."""
    generator = torch.Generator().manual_seed(7)
    marks = 0.04 * torch.randn(4, 3, 4, 4, generator=generator)
    generator.manual_seed(seed)
    tags = (torch.rand(count, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.8])).to(torch.int8)
    pictures = 0.5 + torch.einsum("nt,tchw->nchw", tags.float(), marks)
    pictures += 0.12 * torch.randn(count, 3, 4, 4, generator=generator)
    tags[torch.rand(count, 4, generator=generator) < 0.2] = -1
    images = (255 * pictures.clamp(0, 1)).round().to(torch.uint8)
    names = ("blond", "smiling", "young", "beard")
    return ImageSet("faces", "train", images, torch.full((count,), -1), names, tags=tags)


@pytest.mark.numbers("probes against scikit-learn")
def test_tags_are_read_as_well_as_by_logistic_regressions():
    """scikit-learn's, one a tag on the pictures in which it is to be judged, and its average precision."""
    train, test = tagged_clouds(1, 1000), tagged_clouds(2, 2000)
    config = ProbeConfig(layers=("conv1",), mirror=False, epochs=60, seeds=(0, 1), weight_decay=0.1)
    report = probe(Transparent(4), train, test, config, progress=False)
    taps = (Transparent(4).taps(images.images.double() / 255)["conv1"].numpy() for images in (train, test))
    known, asked = standardised(*taps, axes=(0, 2, 3))
    expected = []
    for tag in range(4):
        learnt, judged = train.tags[:, tag].numpy(), test.tags[:, tag].numpy()
        model = LogisticRegression(C=1 / config.weight_decay, max_iter=5000)
        model.fit(known[learnt >= 0], learnt[learnt >= 0])
        scores = model.decision_function(asked[judged >= 0])
        expected.append(100 * average_precision_score(judged[judged >= 0], scores))
    shares = [100 * (test.tags[:, tag] == 1).sum() / (test.tags[:, tag] >= 0).sum() for tag in range(4)]
    assert np.mean(shares) + 10 < np.mean(expected) < 95, "neither chance nor too easy"
    assert report.mean("conv1") == pytest.approx(np.mean(expected), abs=0.7)
    assert report.metric == "mAP"


def test_unknown_tags_are_neither_learnt_nor_judged(generator):
    scores, tags = torch.randn(50, 3, generator=generator), torch.randint(0, 2, (50, 3), generator=generator)
    hidden = torch.rand(50, 3, generator=generator) < 0.3
    task = Tags(torch.where(hidden, -1, tags).to(torch.int8))
    scores.requires_grad_()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, tags.float(), reduction="none")
    (losses * ~hidden).sum(1).mean().backward()
    torch.testing.assert_close(task.error(scores.detach(), torch.arange(50)), scores.grad)
    other = torch.where(hidden, 100 * scores.detach(), scores.detach())
    assert task.judge(other) == task.judge(scores.detach())


def test_tags_and_labels_do_not_go_together(photos):
    tags = torch.nn.functional.one_hot(photos["train"].labels, 8).to(torch.int8)
    with pytest.raises(CodialError, match=r"8 tags.*8 classes.*: expected labels in both, or tags in both"):
        probe(Transparent(4), replace(photos["train"], tags=tags), photos["test"], QUICK, progress=False)


# Repetition


def test_the_same_seeds_give_the_same_report(photos, seed):
    torch.manual_seed(seed)
    trunk = AlexNet(ModelConfig(width=0.1), 32).eval()
    config = replace(QUICK, seeds=(3, 4), batch=64)
    torch.manual_seed(1)
    first = probe(trunk, photos["train"], photos["test"], config, progress=False)
    torch.manual_seed(2)
    assert probe(trunk, photos["train"], photos["test"], config, progress=False) == first
    one = probe(trunk, photos["train"], photos["test"], replace(config, seeds=(4,)), progress=False)
    assert one.accuracies["conv5"] == first.accuracies["conv5"][1:]
    assert len(set(first.accuracies["conv5"])) == 2


def test_a_runs_report_is_kept_with_it(tiny_run, few, photos, tmp_path):
    report = probe(tiny_run, few, photos["test"], replace(QUICK, layers=CONV_TAPS), progress=False, device="cpu")
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


def test_mean_and_spread_are_those_of_its_seeds(report):
    assert report.mean("conv1") == 52
    assert report.spread("conv1") == pytest.approx(np.std([50, 52, 54], ddof=1))
    assert replace(report, accuracies={"conv1": (50.0,)}).spread("conv1") == 0
    assert str(report) == "mine: conv1 52.0 ± 2.0, conv5 61.0 ± 1.7"


def test_it_comes_back_from_its_file(report, tmp_path):
    report.save(tmp_path / "new" / "report.json")
    assert ProbeReport.load(tmp_path / "new" / "report.json") == report
    assert ProbeReport.load(str(tmp_path / "new" / "report.json")).protocol == report.protocol


def test_a_report_of_old_is_of_top_1_by_the_one_protocol(report, tmp_path):
    replace(report, metric="mAP").save(tmp_path / "new.json")
    assert ProbeReport.load(tmp_path / "new.json").metric == "mAP"
    report.save(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values.pop("metric") == "top-1"
    assert values["protocol"].pop("name") == "codial"
    (tmp_path / "report.json").write_text(json.dumps(values))
    assert ProbeReport.load(tmp_path / "report.json") == report


def test_a_report_from_before_precisions_was_in_float32(report, tmp_path):
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
def test_a_damaged_file_is_named(damage, report, tmp_path):
    path = tmp_path / "report.json"
    report.save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(CodialError, match=r"report.json is not a probe report"):
        ProbeReport.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CodialError, match=r"none.json is not a probe report"):
        ProbeReport.load(tmp_path / "none.json")


def test_the_protocol_says_all_that_matters():
    text = replace(ProbeConfig(), pool="max", epochs=7, seeds=(5,)).describe()
    for part in ("max-pooled", "9,000", "Nesterov momentum 0.9", "7 epochs", "batch 256", "mirrored", "1 probe seed"):
        assert part in text
    assert "bfloat16 where the device computes it" in text
    assert "float32" in replace(ProbeConfig(), precision="float32").describe()
    assert not text.endswith("seeds")
    assert "; top-1 accuracy in percent, 1 probe seed" in text
    assert "; mean average precision over tags in percent, 3 probe seeds" in ProbeConfig().describe("mAP")
    assert "mirrored" not in replace(ProbeConfig(), mirror=False).describe()


# Mistakes


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": ()},
        {"seeds": ()},
        {"epochs": 0},
        {"batch": 0},
        {"dims": 0},
        {"lr": 0},
        {"pool": "mean"},
        {"precision": "fp8"},
    ],
)
def test_a_protocol_out_of_range_is_refused(wrong):
    with pytest.raises(
        CodialError,
        match=r"at least one layer, seed, epoch|pool is 'mean'; expected avg or max|'fp8'; expected auto, b",
    ):
        ProbeConfig(**wrong)


def test_no_momentum_is_plain_descent():
    report = probe(Transparent(4), clouds(1, 200), clouds(2, 200), replace(QUICK, layers=("fc7",), momentum=0.0))
    assert report.mean("fc7") > 30


def test_unlabelled_pictures_and_other_classes_are_refused(photos, tiny_run):
    train, test = photos["train"], photos["test"]
    unlabelled = ImageSet("mine", "all", test.images, torch.full((160,), -1), ())
    with pytest.raises(CodialError, match=r"mine/all.*has no labels; a probe needs them"):
        probe(tiny_run, train, unlabelled, QUICK, progress=False)
    partly = replace(train, labels=torch.where(torch.arange(320) == 5, -1, train.labels))
    with pytest.raises(CodialError, match=r"has no labels"):
        probe(tiny_run, partly, test, QUICK, progress=False)
    with pytest.raises(CodialError, match=r"^The classes differ: \('astronaut', .* in photos, \('class 0', "):
        probe(tiny_run, train, clouds(1, 20), QUICK, progress=False)
