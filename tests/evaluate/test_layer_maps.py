"""Maps of several layers, and how well labels gather in them."""

import math

import pytest
import torch

from codial.config import ModelConfig
from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate import LayerMap, agreement, map_layers, project, trustworthiness
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
