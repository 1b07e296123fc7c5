"""Maps of several layers, and how well labels gather in them."""

import math

import pytest
import torch

from codial.config import ModelConfig
from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate import (
    LayerMap,
    agreement,
    map_aligned,
    map_features,
    map_layers,
    project,
    retrieve,
    trustworthiness,
)
from codial.evaluate.features import features
from codial.models import AlexNet

SEED = 0


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(SEED)
    return AlexNet(ModelConfig(width=0.05), 16).eval()


@pytest.fixture(scope="module")
def images():
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    return ImageSet("made", "test", pixels, torch.arange(40) % 2, ("a", "b"))


@pytest.mark.slow
def test_each_layer_has_the_map_of_its_features(trunk, images):
    pytest.importorskip("umap")
    found = map_layers(trunk, images, ("conv5", "fc7"), neighbours=5, seed=3, progress=False)
    assert list(found) == ["conv5", "fc7"]
    vectors = features(trunk, images, "fc7", progress=False)
    again = project(vectors, neighbours=5, seed=3)
    assert torch.equal(found["fc7"].points, again)
    assert found["fc7"].trustworthiness == trustworthiness(vectors, again, 5)
    assert isinstance(found["conv5"], LayerMap)


def test_too_few_pictures_for_a_map_are_told(trunk, images):
    with pytest.raises(CodialError, match="40 features"):
        map_layers(trunk, images, ("fc7",), neighbours=40, progress=False)


@pytest.mark.slow
def test_a_map_brings_the_neighbours_that_retrieve_finds_but_never_the_picture_itself(trunk, images):
    found = map_layers(trunk, images, ("conv2",), neighbours=5, progress=False)["conv2"]
    expected = retrieve(trunk, images, images, 6, "conv2", progress=False)
    assert found.nearest.tolist() == expected.indices[:, 1:].tolist()
    assert torch.equal(found.similarity, expected.similarity[:, 1:])
    same = map_features(torch.ones(12, 4), neighbours=3)
    assert not bool((same.nearest == torch.arange(12).unsqueeze(1)).any())
    assert same.nearest.shape == same.similarity.shape == (12, 3)


def trunks(count):
    for seed in range(count):
        torch.manual_seed(seed)
        yield AlexNet(ModelConfig(width=0.1), 32).eval()


def moved(one, other):
    """How far a picture moves between two maps, in units of their spread."""
    return float((one.points - other.points).norm(dim=1).mean())


@pytest.mark.slow
def test_aligned_maps_keep_pictures_in_place_and_are_trusted_as_much(photos):
    names, images = ("conv1", "conv3", "conv5"), photos["test"]
    sources = dict(zip("ab", trunks(2), strict=True))
    aligned = map_aligned(sources, images, names, neighbours=10, progress=False)
    apart = {name: map_layers(trunk, images, names, neighbours=10, progress=False) for name, trunk in sources.items()}
    assert {name: list(of_one) for name, of_one in aligned.items()} == {"a": list(names), "b": list(names)}
    pairs = [
        (aligned[a][x], aligned[b][y]) for a, x, b, y in (("a", "conv1", "a", "conv3"), ("a", "conv5", "b", "conv5"))
    ]
    for one, other in pairs:
        assert moved(one, other) < 0.5  # 1.4 or so for maps that have nothing to do with each other
    for name, layer in (("a", "conv1"), ("b", "conv5")):
        found = aligned[name][layer]
        assert found.trustworthiness > apart[name][layer].trustworthiness - 0.02
        torch.testing.assert_close(found.points.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
        assert float(found.points.square().sum(1).mean()) == pytest.approx(1, abs=1e-4)
    across, up = torch.stack(
        [each.points.square().mean(0) for of_one in aligned.values() for each in of_one.values()]
    ).mean(0)
    assert across > up


@pytest.mark.slow
def test_aligned_maps_of_one_trunk_under_two_names_are_one_and_a_seed_repeats_them(trunk, images):
    found = map_aligned({"a": trunk, "b": trunk}, images, ("fc7",), neighbours=5, seed=3, progress=False)
    again = map_aligned({"a": trunk, "b": trunk}, images, ("fc7",), neighbours=5, seed=3, progress=False)
    assert torch.equal(found["a"]["fc7"].points, found["b"]["fc7"].points)
    assert torch.equal(found["a"]["fc7"].points, again["a"]["fc7"].points)


def test_nothing_to_map_is_told(trunk, images):
    with pytest.raises(CodialError, match=r"nothing to map: sources are \[\], layers are \['fc7'\]"):
        map_aligned({}, images, ("fc7",))
    with pytest.raises(CodialError, match=r"Layers are \[\]; expected some of conv1"):
        map_aligned({"a": trunk}, images, ())


def test_agreement_counts_neighbours_of_the_same_label():
    points = torch.tensor([[0.0, 0], [1, 0], [10, 0], [11, 0]])
    assert agreement(points, torch.tensor([0, 0, 1, 1]), 1) == 100
    assert agreement(points, torch.tensor([0, 1, 0, 1]), 1) == 0
    assert agreement(points, torch.tensor([0, 0, 0, 1]), 3) == pytest.approx(50)


def test_agreement_leaves_out_what_has_no_label():
    points = torch.tensor([[0.0, 0], [0.1, 0], [1, 0], [10, 0]])
    assert agreement(points, torch.tensor([0, -1, 0, 1]), 1) == pytest.approx(200 / 3)


def test_agreement_is_not_a_number_where_too_little_is_labelled():
    assert math.isnan(agreement(torch.zeros(5, 2), torch.full((5,), -1), 2))


def test_agreement_is_at_chance_for_labels_at_random():
    generator = torch.Generator().manual_seed(SEED)
    points, labels = torch.randn(2000, 2, generator=generator), torch.randint(0, 4, (2000,), generator=generator)
    assert agreement(points, labels) == pytest.approx(25, abs=2)
