"""Few images, one class, identical features, NaN: a right number or one plain message; a collapse is called so."""

import re
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.nn.functional import avg_pool2d

import codial
from codial import GlobStatProbe, ProbeConfig, ZhangProbe, probe, retrieve
from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate import LayerMap, map_features, nearest
from codial.models import Backbone
from codial.models.collapse import MIN_STD, collapse_text, feature_std
from codial.plots.embeddings import feature_maps
from codial.plots.retrieval import neighbor_rows
from codial.plots.selection import neighbors_of
from codial.training.monitors import feature_monitors

PROTOCOLS = {
    "codial": ProbeConfig(seeds=(0,)),
    "zhang": ZhangProbe(steps=60, seeds=(0,)),
    "globstat": GlobStatProbe(epochs=60, batch=16, seeds=(0,)),
}
COLORS = torch.tensor([[220, 40, 40], [40, 220, 40], [40, 40, 220]])


class Pixels(Backbone):
    """A backbone whose layers are 4 x 4 means of the image, as a map and as a vector, changed by a function."""

    map_layers, layers = ("conv5",), ("conv5", "fc7")

    def __init__(self, change=lambda images: images):
        super().__init__()
        self.size, self.feature_dim = 16, 48
        self.weight = nn.Parameter(torch.zeros(1))  # which gives the device
        self.change = change

    def features(self, images, layers=None):
        maps = self.change(avg_pool2d(images, 4))
        return {name: maps if name == "conv5" else maps.flatten(1) for name in layers or self.layers}


def broken_image(value):
    """Return a change of the first image of each batch to a value."""

    def change(images):
        images = images.clone()
        images[0] = value
        return images

    return change


same = Pixels(lambda images: images * 0 + 1)
BROKEN = {
    "all NaN": lambda x: x * torch.nan,
    "one NaN": broken_image(torch.nan),
    "one infinite": broken_image(torch.inf),
}


def colored(count, seed, split="train", labels=None):
    """Return noisy images of one color per class; the classes do not overlap."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3 if labels is None else labels
    noise = torch.randint(-20, 20, (count, 3, 4, 4), generator=generator)
    images = (COLORS[labels].view(count, 3, 1, 1) + noise).to(torch.uint8)
    images = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return ImageSet("colors", split, images, labels, ("red", "green", "blue"))


def vectors(images):
    return images.images[:, :, ::4, ::4].flatten(1).double().numpy() / 255


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return PROTOCOLS[request.param]


# Probes


@pytest.mark.parametrize("count", [2, 16, 30])
def test_few_images_give_scikit_learns_accuracy(count, protocol):
    train, test = colored(count, 1), colored(30, 2, "test")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = probe(Pixels(), train, test, protocol, progress=False)
    x, test_x = (vectors(images) for images in (train, test))
    expected = 100 * LogisticRegression().fit(x, train.labels).score(test_x, test.labels)
    assert report.mean("conv5") == pytest.approx(expected)
    missing = "colors/train has no images of blue: all test images of these classes count as wrong."
    assert [str(each.message) for each in caught] == [missing] * (count == 2)


def test_one_image_and_one_class_are_no_training_set(protocol):
    for train in (colored(1, 1), colored(16, 1, labels=torch.ones(16, dtype=torch.int64))):
        name = train.classes[train.labels[0]]
        with pytest.raises(CodialError, match=rf"^The training images of colors/train \({len(train)}\) are all of one"):
            probe(Pixels(), train, colored(16, 2), protocol, progress=False)
        with pytest.raises(CodialError, match=f"one class, {name}; a probe needs two or more"):
            probe(Pixels(), train, train, protocol, progress=False)


def test_a_class_without_test_images_is_named(protocol):
    train, test = colored(30, 1), colored(9, 2, "test", labels=torch.zeros(9, dtype=torch.int64))
    with pytest.warns(UserWarning, match=r"^colors/test has no images of green, blue: the accuracy does not include"):
        assert probe(Pixels(), train, test, protocol, progress=False).mean("conv5") == 100


def test_identical_features_give_the_share_of_the_most_frequent_class(protocol):
    labels = torch.tensor([0] * 5 + [1] * 20 + [2] * 5)
    train, test = colored(30, 1, labels=labels), colored(16, 2, "test")
    expected = 100 * DummyClassifier().fit(labels, labels).score(test.labels, test.labels)
    assert probe(same, train, test, protocol, progress=False).mean("conv5") == pytest.approx(expected)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_probe_of_features_that_are_not_finite_says_so(kind, protocol):
    with pytest.raises(CodialError, match="NaN or infinite"):
        probe(Pixels(BROKEN[kind]), colored(30, 1), colored(16, 2), protocol, progress=False)


def test_an_empty_set_is_named(protocol):
    empty = colored(0, 1, "test")
    with pytest.raises(CodialError, match="is empty; a probe needs training and test images"):
        probe(Pixels(), colored(16, 1), empty, protocol, progress=False)


def test_a_batch_of_one_image_is_refused_before_training():
    """Batch norm of maps of one pixel would fail in it."""
    for kind in (ZhangProbe, GlobStatProbe):
        with pytest.raises(CodialError, match="two images per batch"):
            kind(batch=1)


def test_a_probe_leaves_the_backbone_as_it_was(protocol):
    """Running statistics of batch norm would adapt to the labeled images in training mode."""
    torch.manual_seed(0)
    backbone = codial.models.AlexNet(codial.config.ModelConfig(width=0.05), 32).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    brief = {"codial": {"epochs": 1}, "zhang": {"steps": 2}, "globstat": {"epochs": 1}}[protocol.name]
    config = replace(protocol, layers=("conv5",), **brief)
    probe(backbone, colored(16, 1), colored(16, 2), config, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


# Retrieval


@pytest.fixture(params=["faiss", "torch"])
def backend(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setitem(sys.modules, "faiss", None)
    else:
        pytest.importorskip("faiss")


@pytest.mark.parametrize("count", [2, 16, 30])
def test_a_gallery_queried_with_itself_leaves_each_query_out_as_scikit_learn_does(count, backend, generator):
    labels = torch.randint(3, (count,), generator=generator)
    images = colored(count, 1, labels=torch.arange(count) % 3)
    gallery = replace(images, labels=labels)
    k = min(5, count - 1)
    found = retrieve(Pixels(), gallery, gallery, k, progress=False)
    near = NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors(images)).kneighbors(return_distance=False)
    expected = 100 * (labels.numpy()[near] == labels.numpy()[:, None]).mean()
    assert found.precision == pytest.approx(expected)
    assert not (found.indices == torch.arange(count).unsqueeze(1)).any()
    assert found.collapse == ""


def test_a_query_without_relevant_images_counts_as_zero():
    queries = colored(3, 2, "test")
    gallery = colored(2, 1, labels=torch.tensor([0, 1]))
    assert retrieve(Pixels(), gallery, queries, 1, progress=False).precision == pytest.approx(200 / 3)


def test_k_above_the_gallery_and_vectors_that_are_not_finite_are_refused(backend):
    vectors = torch.eye(4)
    broken = vectors.clone()
    broken[2, 1] = torch.nan
    with pytest.raises(CodialError, match=r"^k is 5; expected 1 to 4"):
        nearest(vectors, vectors, 5)
    with pytest.raises(CodialError, match=r"^gallery: 1 of 4 images have NaN or infinite features, such as image 2\."):
        nearest(broken, vectors, 1)
    with pytest.raises(CodialError, match=r"^queries: 1 of 4 images"):
        nearest(vectors, broken, 1)


@pytest.mark.parametrize("kind", BROKEN)
def test_retrieval_by_features_that_are_not_finite_says_so(kind):
    with pytest.raises(CodialError, match=r"^fc7: \d+ of 30 images have NaN or infinite features"):
        retrieve(Pixels(BROKEN[kind]), colored(30, 1), colored(16, 2), 3, progress=False)


def test_test_images_among_the_training_images_are_counted():
    train, test = colored(16, 1), colored(9, 2, "test")
    test = replace(test, images=torch.cat((test.images[:6], train.images[6:9])))
    text = r"^3 of 9 images of colors/test are also in colors/train \(the same pixels\): "
    with pytest.warns(UserWarning, match=text + "each of them can find itself"):
        retrieve(Pixels(), train, test, 1, progress=False)
    with pytest.warns(UserWarning, match=text + "the classifier was trained on them"):
        probe(Pixels(), train, test, PROTOCOLS["codial"], progress=False)


def test_precision_of_a_single_class_comes_with_a_warning():
    images = colored(9, 1, labels=torch.zeros(9, dtype=torch.int64))
    with pytest.warns(UserWarning, match=r"^All images are of one class: the precision is 100 % for any features"):
        assert retrieve(Pixels(), images, images, 3, progress=False).precision == 100


# Collapse


@pytest.mark.parametrize(("noise", "collapsed"), [(0, True), (0.02, True), (0.2, False)])
def test_the_criterion_is_the_standard_deviation_of_unit_vectors(noise, collapsed, generator):
    features = 1 + noise * torch.randn(500, 64, generator=generator)
    unit = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    std = feature_std(features)
    assert std == pytest.approx(8 * unit.std(0, ddof=1).mean(), abs=1e-4)
    assert std == pytest.approx(noise, rel=0.1, abs=1e-4), "noise relative to the common vector of length 8"
    assert (std < MIN_STD) == collapsed
    assert collapse_text(std) == (f"collapsed: feature_std {std:.2f} < 0.05" if collapsed else "")


def test_dead_features_are_collapsed_and_a_single_image_is_not():
    assert collapse_text(feature_std(torch.zeros(16, 8))) == "collapsed: feature_std 0.00 < 0.05"
    assert collapse_text(feature_std(torch.ones(1, 8))) == ""


@pytest.mark.parametrize("layer", ["conv1", "conv5", "fc7"])
def test_random_weights_are_not_collapsed(layer, photos, seed):
    torch.manual_seed(seed)
    backbone = codial.models.AlexNet(codial.config.ModelConfig(width=0.1), 32).eval()
    assert feature_std(codial.features(backbone, photos["test"], layer, progress=False)) > 3 * MIN_STD


def test_neighbors_of_a_collapsed_network_are_called_collapsed():
    gallery, queries = colored(16, 1), colored(9, 2)
    results = {
        name: retrieve(net, gallery, queries, 3, progress=False) for name, net in (("same", same), ("own", Pixels()))
    }
    titles = [axes.get_title() for axes in neighbor_rows(queries, gallery, results, [0]).axes[1:]]
    assert "collapsed: feature_std 0.00 < 0.05" in re.sub(r"\s+", " ", titles[0])
    assert "collapsed" not in titles[1]
    assert results["same"].subset([0]).collapse == results["same"].collapse


def test_maps_of_a_collapsed_network_are_called_collapsed():
    images = colored(16, 1)
    points, near, cosines = torch.rand(16, 2), torch.zeros(16, 3, dtype=torch.int64), torch.ones(16, 3)
    layer_map = LayerMap(points, 0.5, near, cosines, feature_std(torch.ones(16, 8)))
    figure = feature_maps({"run": {"fc7": layer_map}}, images)
    assert figure.axes[0].get_title() == "fc7\ntrustworthiness 0.50\ncollapsed: feature_std 0.00 < 0.05"
    titles = [axes.get_title(loc="left") for axes in neighbors_of(0, [("run, fc7", layer_map)], images).axes]
    assert "nearest by run, fc7, collapsed: feature_std 0.00 < 0.05" in titles


def test_a_map_of_features_that_are_not_finite_says_so():
    features = torch.rand(30, 8)
    features[3, 0] = torch.inf
    with pytest.raises(CodialError, match=r"^map: 1 of 30 images have NaN or infinite features, such as image 3\."):
        map_features(features)


# Monitors


@pytest.mark.parametrize("count", [1, 2, 16, 30])
def test_monitors_of_few_images(count):
    images = colored(count, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = feature_monitors(Pixels(), images, 1000)
    assert set(found) == ({"feature_std", "rankme"} if count > 1 else set()) | (
        {"knn", "probe"} if count > 20 else set()
    )
    assert all(np.isfinite(value) for value in found.values())
    assert {name: found[name] for name in ("knn", "probe") if name in found} == (
        {"knn": 100, "probe": 100} if count == 30 else {}
    ), "the classes do not overlap"


def test_monitors_of_one_class_have_no_accuracy():
    images = colored(30, 1, labels=torch.zeros(30, dtype=torch.int64))
    assert set(feature_monitors(Pixels(), images, 1000)) == {"feature_std", "rankme"}


def test_monitors_of_identical_features():
    found = feature_monitors(same, colored(30, 1), 1000)
    assert (found["feature_std"], found["rankme"]) == pytest.approx((0, 1), abs=1e-3)


@pytest.mark.parametrize("kind", BROKEN)
def test_monitors_of_features_that_are_not_finite_are_left_out(kind):
    """The history must stay readable, and training may recover."""
    with pytest.warns(UserWarning, match=r"^No monitors: \d+ of 30 images have NaN or infinite features"):
        assert feature_monitors(Pixels(BROKEN[kind]), colored(30, 1), 1000) == {}
