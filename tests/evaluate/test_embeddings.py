import math
import sys

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from codial.errors import CodialError
from codial.evaluate import agreement, embeddings, map_features, trustworthiness


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 5, 10, 16, 24, 30])
def test_few_images_have_a_map(count, blobs):
    features = blobs[0][:count]
    if count > 15:
        layer_map = map_features(features)
    else:
        with pytest.warns(UserWarning, match=f"^There are {count} images: the map uses {count - 1} neighbors instead"):
            layer_map = map_features(features)
    assert layer_map.points.shape == (count, 2)
    assert layer_map.points.isfinite().all()
    assert len(layer_map.points.unique(dim=0)) == count
    assert 0 <= layer_map.trustworthiness <= 1
    assert layer_map.nearest.shape == (count, min(15, count - 1))


def test_trustworthiness_of_many_images_is_that_of_a_sample(generator, monkeypatch):
    """100,000 images would need 80 GB."""
    points = torch.randn(3000, 2, generator=generator)
    monkeypatch.setattr(embeddings, "MAX_EXACT", 1000)
    unit = torch.nn.functional.normalize(points, dim=1)
    assert trustworthiness(points, unit) == pytest.approx(1, abs=1e-3)
    assert trustworthiness(points, unit[torch.randperm(3000, generator=generator)]) == pytest.approx(0.5, abs=0.05)


def test_without_scikit_learn_it_says_so(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(CodialError, match=r"^Trustworthiness needs scikit-learn"):
        trustworthiness(blobs[0], blobs[0][:, :2])


def test_trustworthiness_of_faithful_and_shuffled_maps(generator):
    angles = torch.rand(60, generator=generator) * 2 * math.pi
    circle = torch.stack((angles.cos(), angles.sin()), 1)
    assert trustworthiness(circle * 7, circle, 5) == pytest.approx(1.0)
    assert trustworthiness(circle, circle[torch.randperm(60, generator=generator)], 5) < 0.7


def test_agreement_matches_scikit_learn_neighbors(generator):
    points, labels = torch.randn(1500, 2, generator=generator), torch.randint(-1, 3, (1500,), generator=generator)
    labeled = labels >= 0
    near = NearestNeighbors(n_neighbors=5).fit(points[labeled].numpy()).kneighbors(return_distance=False)
    same = labels[labeled].numpy()[near] == labels[labeled].numpy()[:, None]
    assert agreement(points, labels, 5) == pytest.approx(100 * same.mean(), abs=1e-4)
    assert math.isnan(agreement(points[:4], torch.tensor([0, 1, 0, 1]), 5))
