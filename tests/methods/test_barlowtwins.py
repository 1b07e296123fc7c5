import numpy as np
import pytest
import torch
from small_methods import small
from torch import nn

import codial
from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.barlowtwins import BarlowTwinsConfig
from codial.models import build_backbone
from codial.utils.batch_generator import BatchGenerator

IMAGES = 6


@pytest.fixture
def method(seed):
    torch.manual_seed(seed)
    return build(small("barlowtwins"))


@pytest.fixture
def batch(few, generator):
    views = sample_views(few.batch(range(IMAGES)), small("barlowtwins").views, generator)
    return Batch(views, few.labels[:IMAGES], 0.0, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))


def test_the_loss_compares_correlations_between_views_with_the_identity(method, batch):
    """Random embeddings by the method's batch layout; correlations by NumPy."""
    method.projector = nn.Identity()
    embeddings = torch.randn(2 * IMAGES, 5, generator=torch.Generator().manual_seed(1))
    method.backbone.forward = lambda images: embeddings
    correlations = np.corrcoef(embeddings[0::2].numpy(), embeddings[1::2].numpy(), rowvar=False)[:5, 5:]
    target = np.eye(5)
    weights = np.where(target, 1, 5e-3)
    terms = method.terms(batch)
    assert set(terms) == {"loss", "pretext_accuracy"}
    assert terms["loss"].item() == pytest.approx((weights * (correlations - target) ** 2).sum(), rel=1e-4)


def test_the_projector_has_the_originals_8192_units_for_alexnets_4096_features():
    config = codial.preset("barlowtwins/paper")
    with torch.device("meta"):
        backbone = build_backbone(config)
    assert round(config.method.projector * backbone.feature_dim) == 8192
    method = build(small("barlowtwins", projector=0.1))
    features, width = method.backbone.feature_dim, round(0.1 * method.backbone.feature_dim)
    shapes = [tuple(p.shape) for p in method.projector.parameters() if p.ndim == 2]
    assert shapes == [(width, features), (width, width), (width, width)]


@pytest.mark.parametrize(("field", "value"), [("projector", 0.0), ("projector", 17.0), ("redundancy_weight", -1.0)])
def test_invalid_settings_are_refused(field, value):
    with pytest.raises(CodialError, match=f"method.{field} is {value}"):
        BarlowTwinsConfig(**{field: value})
