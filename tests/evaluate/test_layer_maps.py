"""Maps of several layers, and label agreement of neighbors."""

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
def backbone():
    torch.manual_seed(SEED)
    return AlexNet(ModelConfig(width=0.05), 16).eval()


@pytest.fixture(scope="module")
def images():
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    return ImageSet("made", "test", pixels, torch.arange(40) % 2, ("a", "b"))


@pytest.mark.slow
def test_map_layers_projects_each_layers_features(backbone, images):
    pytest.importorskip("umap")
    found = map_layers(backbone, images, ("conv5", "fc7"), neighbors=5, seed=3, progress=False)
    assert list(found) == ["conv5", "fc7"]
    vectors = features(backbone, images, "fc7", progress=False)
    again = project(vectors, neighbors=5, seed=3)
    assert torch.equal(found["fc7"].points, again)
    assert found["fc7"].trustworthiness == trustworthiness(vectors, again, 5)
    assert isinstance(found["conv5"], LayerMap)


@pytest.mark.slow
def test_map_has_the_neighbors_of_retrieve_without_the_image_itself(backbone, images):
    found = map_layers(backbone, images, ("conv2",), neighbors=5, progress=False)["conv2"]
    expected = retrieve(backbone, images, images, 5, "conv2", progress=False)
    assert found.nearest.tolist() == expected.indices.tolist()
    assert torch.equal(found.similarity, expected.similarity)
    same = map_features(torch.ones(12, 4), neighbors=3)
    assert not bool((same.nearest == torch.arange(12).unsqueeze(1)).any())
    assert same.nearest.shape == same.similarity.shape == (12, 3)


def backbones(count):
    for seed in range(count):
        torch.manual_seed(seed)
        yield AlexNet(ModelConfig(width=0.1), 32).eval()


def moved(one, other):
    """Return the mean distance of an image's positions in two maps, in units of their scale."""
    return float((one.points - other.points).norm(dim=1).mean())


@pytest.mark.slow
def test_aligned_maps_have_similar_positions_and_trustworthiness(photos):
    names, images = ("conv1", "conv3", "conv5"), photos["test"]
    sources = dict(zip("ab", backbones(2), strict=True))
    aligned = map_aligned(sources, images, names, neighbors=10, progress=False)
    apart = {
        name: map_layers(backbone, images, names, neighbors=10, progress=False) for name, backbone in sources.items()
    }
    assert {name: list(of_one) for name, of_one in aligned.items()} == {"a": list(names), "b": list(names)}
    pairs = [
        (aligned[a][x], aligned[b][y]) for a, x, b, y in (("a", "conv1", "a", "conv3"), ("a", "conv5", "b", "conv5"))
    ]
    for one, other in pairs:
        assert moved(one, other) < 0.5  # about 1.4 for unrelated maps
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
def test_aligned_maps_of_equal_backbones_are_equal(backbone, images):
    found = map_aligned({"a": backbone, "b": backbone}, images, ("fc7",), neighbors=5, seed=3, progress=False)
    again = map_aligned({"a": backbone, "b": backbone}, images, ("fc7",), neighbors=5, seed=3, progress=False)
    assert torch.equal(found["a"]["fc7"].points, found["b"]["fc7"].points)
    assert torch.equal(found["a"]["fc7"].points, again["a"]["fc7"].points)


def test_map_aligned_without_sources_or_layers_raises(backbone, images):
    with pytest.raises(CodialError, match=r"^sources are \[\], layers are \['fc7'\]; expected at least one of each"):
        map_aligned({}, images, ("fc7",))
    with pytest.raises(CodialError, match=r"Layers are \[\]; expected some of conv1"):
        map_aligned({"a": backbone}, images, ())


def test_agreement_counts_neighbors_of_the_same_label():
    points = torch.tensor([[0.0, 0], [1, 0], [10, 0], [11, 0]])
    assert agreement(points, torch.tensor([0, 0, 1, 1]), 1) == 100
    assert agreement(points, torch.tensor([0, 1, 0, 1]), 1) == 0
    assert agreement(points, torch.tensor([0, 0, 0, 1]), 3) == pytest.approx(50)
