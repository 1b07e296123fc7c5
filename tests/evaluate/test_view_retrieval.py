"""Retrieval of an image's view by another view of it."""

from dataclasses import replace

import pytest
import torch

import codial
from codial.config import ViewsConfig
from codial.data import ImageSet
from codial.evaluate import nearest, retrieve_views
from codial.models import AlexNet
from codial.transforms import plain_view, sample_views

_OFF = dict.fromkeys(("flip", "brightness", "contrast", "saturation", "hue"), 0)
PLAIN = ViewsConfig(size=32, crop_area=(1, 1), crop_aspect=(1, 1), **_OFF)


@pytest.fixture(scope="module")
def backbone(seed):
    torch.manual_seed(seed)
    return AlexNet(codial.preset("codial/photos").model, 48).eval()


def test_equal_views_retrieve_each_other(backbone, few):
    result = retrieve_views(backbone, few, PLAIN)
    assert result.precision == 100
    assert result.similarity.min() > 0.999


def test_precision_is_that_of_a_search_one_by_one(backbone, photos, seed):
    images, views = photos["test"], ViewsConfig(size=32)
    upright = replace(views, primary=("rot0", "rot0"))
    pairs = sample_views(images.batch(range(160)), upright, torch.Generator().manual_seed(seed)).images
    pairs = (pairs * 255).round().to(torch.uint8)
    with torch.no_grad():
        first, second = (backbone(plain_view(pairs[:, k], backbone.size)) for k in range(2))
    hits = [int(nearest(first, second[i : i + 1], 1)[1]) == i for i in range(160)]
    result = retrieve_views(backbone, images, views, seed=seed)
    assert 0 < sum(hits) < 160
    assert result.precision == pytest.approx(100 * sum(hits) / 160, abs=1.5)


def test_images_need_no_labels_and_are_limited(backbone, few):
    unlabeled = ImageSet("own", "train", few.images, torch.full((24,), -1), ())
    assert len(retrieve_views(backbone, unlabeled, PLAIN, limit=10).indices) == 10
    assert len(retrieve_views(backbone, unlabeled, PLAIN).indices) == 24


def test_the_same_seed_samples_the_same_views(backbone, few):
    views = ViewsConfig(size=32)
    first, again, other = (retrieve_views(backbone, few, views, seed=seed).similarity for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
