"""The whole path, from pretraining to tables and panels, on AlexNet, ResNet-18 and a backbone of one's own."""

import re
from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from small_methods import small
from torch import nn

import codial
from codial.config import ModelConfig, override
from codial.config.registry import BACKBONES
from codial.errors import CodialError
from codial.evaluate import predictions
from codial.evaluate.embeddings import map_layers
from codial.evaluate.transfer import detect, segment
from codial.models import Backbone, layer_names, register_backbone
from codial.results.aggregate import gains_over_random, group_by_seed
from codial.results.comparison import compare
from codial.results.paper_tables import paper_table
from codial.widgets import RetrievalBrowser, RunPanel

LAYERS = {
    "alexnet": ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"),
    "resnet18": ("stem", "layer1", "layer2", "layer3", "layer4", "pool"),
    "own": ("first", "second", "mean"),
}
QUICK = codial.ProbeConfig(epochs=2, seeds=(0,), precision="float32")


class Own(Backbone):
    """Two convolutions and the mean over positions."""

    scales_width = True

    def __init__(self, config, size):
        super().__init__()
        self.size, self.feature_dim = size, 8
        self.layers, self.map_layers = LAYERS["own"], LAYERS["own"][:2]
        self.first = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def features(self, images, layers=None):
        names, activations, x = self.require(layers), {}, images
        for name in self.layers:
            x = activations[name] = getattr(self, name)(x)
        return {name: activations[name] for name in self.layers if name in names}


@pytest.fixture(scope="module")
def registered():
    register_backbone("own")(Own)
    yield
    del BACKBONES._classes["own"]


def config_of(method, backbone, **train):
    """Return a small config with a backbone, of three steps."""
    config = replace(small(method), model=ModelConfig(width=0.125, bn_momentum=0.1, backbone=backbone))
    options = {"epochs": 1, "batch": 8, "log_every": 1, "device": "cpu", "precision": "float32", "monitor_images": 24}
    return replace(config, train=replace(config.train, **options | train))


@pytest.fixture(scope="module")
def runs(registered, few, tmp_path_factory):
    """RotNet's runs by backbone."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: pretrain_quietly(config_of("rotnet", name), folder / name, few) for name in LAYERS}


@pytest.mark.parametrize("name", LAYERS)
def test_a_run_has_monitors_and_resumes_bit_for_bit(name, runs, few, tmp_path):
    run = runs[name]
    assert {"knn", "probe", "rankme", "feature_std"} <= set(run.history[-1])
    for line in run.history:
        assert all(value == value for value in line.values() if isinstance(value, float)), "no NaN"
    pretrain_quietly(run.config, tmp_path / "run", few, stop=stop_after(2))
    assert_same_run(pretrain_quietly(run.config, tmp_path / "run", few), run)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_listed_probed_and_compared_by_default(name, runs, few):
    run, backbone = runs[name], runs[name].backbone()
    assert layer_names(run.config) == (LAYERS[name], backbone.map_layers)
    assert (backbone.layers, backbone(torch.rand(2, 3, 32, 32)).shape) == (LAYERS[name], (2, backbone.feature_dim))
    report = codial.probe(run, few, few, QUICK, progress=False, device="cpu")
    assert tuple(report.accuracies) == report.protocol.layers == backbone.map_layers
    last = codial.features(run, few, progress=False, device="cpu")
    assert torch.equal(last, codial.features(run, few, LAYERS[name][-1], progress=False, device="cpu"))
    result = codial.retrieve(run, few, few, 3, progress=False, device="cpu")
    named = codial.retrieve(run, few, few, 3, LAYERS[name][-1], progress=False, device="cpu")
    assert result.layer == named.layer == LAYERS[name][-1]
    assert torch.equal(result.indices, named.indices)
    (layer_map,) = map_layers(run, few, LAYERS[name][-1:], neighbors=4, progress=False, device="cpu").values()
    assert layer_map.points.shape == (24, 2)


@pytest.mark.parametrize("name", LAYERS)
def test_saliency_is_the_evidence_of_the_last_maps(name, runs, few):
    views = codial.sample_views(few.batch([0, 1]), runs[name].config.views, torch.Generator().manual_seed(0))
    found = predictions(runs[name], views.images.flatten(0, 1))
    assert found.saliency.shape == (8, 32, 32)
    assert found.saliency.isfinite().all()
    assert found.saliency.std() > 0


@pytest.mark.parametrize("method", ["codial", "decouple", "supervised", "globstat", "knowtrans", "simclr", "random"])
def test_methods_train_a_resnet(method, few, tmp_path):
    base = codial.preset("random/photos") if method == "random" else small(method)
    changes = {"model.backbone": "resnet18", "model.width": 0.05, "views.size": 32, "train.batch": 12}
    config = override(base, changes | {"train.epochs": 0 if method == "random" else 2, "train.device": "cpu"})
    run = pretrain_quietly(config, tmp_path / "run", few)
    assert run.finished
    assert run.backbone().layers == LAYERS["resnet18"]


def test_bfloat16_and_float32_have_similar_losses(few, tmp_path):
    runs = [
        pretrain_quietly(config_of("rotnet", "resnet18", precision=precision), tmp_path / precision, few)
        for precision in ("float32", "bf16")
    ]
    first, second = (run.curve("loss")[1][0] for run in runs)
    assert first != second
    assert second == pytest.approx(first, rel=0.02)


@pytest.fixture(scope="module")
def others(photos):
    """24 test images."""
    return photos["test"].subset(24)


def test_backbones_stand_side_by_side_in_tables(runs, few, others):
    found = compare(list(runs.values()), lambda: (few, others), QUICK, progress=False, device="cpu")
    assert found.layers == [layer for name in LAYERS for layer in layer_names(runs[name].config).map_layers]
    assert [group.name for group in found.groups] == [f"rotnet/photos {name}" for name in LAYERS]
    alexnet, resnet, _ = found.groups
    assert (len(found.accuracies(resnet, "layer4")), found.accuracies(alexnet, "layer4")) == (1, [])
    text = str(found)
    assert "by cosine of fc7 or pool or mean" in text
    assert text.count("the paper, ") == 1, "the paper has AlexNets only"
    again = compare(list(runs.values()), lambda: pytest.fail("reports are reused"), QUICK, progress=False)
    assert str(again) == text
    rows = [line for line in str(paper_table(1, runs.values())).splitlines() if "rotnet/photos" in line]
    assert any("rotnet/photos alexnet" in row for row in rows)
    assert [row for row in rows if re.match(r"\W*rotnet/photos (resnet18|own) +\d", row)] == []


def test_figures_of_several_backbones_have_the_layers_of_all(runs, few, others):
    from codial.plots.embeddings import feature_maps
    from codial.plots.methods import layer_curves
    from codial.plots.probes import probe_bars
    from codial.results.aggregate import probe_reports

    for run in runs.values():
        codial.probe(run, few, others, QUICK, progress=False, device="cpu")
    (axes,) = probe_bars(probe_reports(runs.values(), "photos")).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        layer for name in LAYERS for layer in layer_names(runs[name].config).map_layers
    ]
    assert layer_curves(compare(list(runs.values()), lambda: (few, others), QUICK, progress=False, device="cpu")).axes
    maps = {
        name: map_layers(run, few, layers, neighbors=4, progress=False, device="cpu")
        for (name, run), layers in zip(runs.items(), (("conv5", "fc7"), ("pool",), ("mean",)), strict=True)
    }
    titles = [axes.get_title().split("\n")[0] for axes in feature_maps(maps, few).axes]
    assert titles == ["conv5", "fc7", "", "pool", "", "mean"]


def test_gains_need_random_weights_of_the_same_backbone(runs, few, tmp_path):
    config = override(codial.preset("random/photos"), {"views.size": 32, "model.width": 0.125, "train.device": "cpu"})
    floor = pretrain_quietly(config, tmp_path / "random", few)
    for run in (floor, runs["alexnet"], runs["resnet18"]):
        codial.probe(run, few, few, QUICK, progress=False, device="cpu")
    assert list(gains_over_random([floor, runs["alexnet"]], "photos")) == ["rotnet/photos"]
    with pytest.raises(CodialError, match=r"random weights of its backbone; .* model.backbone=resnet18"):
        gains_over_random([floor, runs["resnet18"]], "photos")


def test_groups_of_one_name_and_backbone_are_told_apart_by_their_settings(runs):
    wider = replace(runs["alexnet"], config=override(runs["alexnet"].config, {"model.width": 0.25}))
    names = [group.name for group in group_by_seed([runs["alexnet"], wider, runs["resnet18"]])]
    assert names[2] == "rotnet/photos resnet18"
    assert names[0] != names[1]


def test_panels_take_the_layers_of_the_runs(runs, few):
    assert RunPanel(runs["resnet18"].folder).state() == "<b>Finished.</b>"
    one = RetrievalBrowser({"a": runs["resnet18"]}, few, few, k=3)
    assert (list(one.controls["layer"].options), one.controls["layer"].value) == (list(LAYERS["resnet18"]), "pool")
    mixed = RetrievalBrowser(runs, few, few, k=3)
    assert mixed.controls["layer"].value == "last layer"
    assert set(mixed.controls["layer"].options) == {"last layer"}.union(*LAYERS.values())
    expected = codial.retrieve(runs["own"], few, few, 3, "mean", progress=False, device="cpu")
    found = mixed.neighbors("own", mixed.trail[0], "last layer", 3)
    assert torch.equal(found.indices, expected.indices[0])


@pytest.mark.parametrize(("task", "name"), [(detect, "Detection"), (segment, "Segmentation")])
def test_fine_tuning_tasks_of_the_paper_need_an_alexnet(task, name, runs):
    with pytest.raises(CodialError, match=rf"{name} needs a run of AlexNet .*; this backbone is ResNet18"):
        task(runs["resnet18"], [], [], progress=False)


@pytest.mark.parametrize("kind", [codial.ZhangProbe, codial.GlobStatProbe])
def test_published_protocols_pool_by_dimensions_or_are_refused(kind, runs, few):
    if kind is codial.GlobStatProbe:
        with pytest.raises(CodialError, match=r"kernels for conv1, .* none for stem, .*, layer4 of ResNet18; use"):
            codial.probe(runs["resnet18"], few, few, kind(epochs=1), progress=False, device="cpu")
        return
    report = codial.probe(runs["resnet18"], few, few, kind(steps=2, seeds=(0,)), progress=False, device="cpu")
    assert list(report.dims.values()) == [8 * 32**2, 8 * 32**2, 16 * 16**2, 32 * 8**2, 64 * 4**2], "at most about 9,000"
    assert "about 9,000 dimensions" in report.protocol.describe()


@pytest.mark.parametrize("method", ["cmc", "deepcluster", "spotartifacts"])
def test_methods_that_need_an_alexnet_refuse_others(method):
    with pytest.raises(CodialError, match=r"model.backbone is 'resnet18'; expected alexnet: "):
        override(small(method), {"model.backbone": "resnet18"})
