import numpy as np
import pytest
import torch
from small_methods import small
from torch import nn

import codial
from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.vicreg import VICRegConfig
from codial.models import build_backbone
from codial.utils.batch_generator import BatchGenerator

IMAGES = 6


@pytest.fixture
def batch(few, generator):
    views = sample_views(few.batch(range(IMAGES)), small("vicreg").views, generator)
    return Batch(views, few.labels[:IMAGES], 0.0, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))


def test_the_loss_weighs_invariance_variance_and_covariance(batch, seed):
    """Random embeddings by the method's batch layout; variances and covariances by NumPy."""
    torch.manual_seed(seed)
    method = build(small("vicreg", invariance_weight=2.0, variance_weight=3.0, covariance_weight=5.0))
    method.expander = nn.Identity()
    embeddings = 0.9 * torch.randn(2 * IMAGES, 4, generator=torch.Generator().manual_seed(1))
    method.backbone.forward = lambda images: embeddings
    views = [embeddings[k::2].double().numpy() for k in (0, 1)]
    hinges = [np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)) for z in views]
    off_diagonal = [np.cov(z, rowvar=False)[~np.eye(4, dtype=bool)] for z in views]
    terms = method.terms(batch)
    invariance, variance = np.mean((views[0] - views[1]) ** 2), np.mean(hinges)
    covariance = sum((c**2).sum() for c in off_diagonal) / 4
    assert terms["loss_invariance"].item() == pytest.approx(invariance, rel=1e-4)
    assert terms["loss_variance"].item() == pytest.approx(variance, rel=1e-4)
    assert terms["loss_covariance"].item() == pytest.approx(covariance, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(2 * invariance + 3 * variance + 5 * covariance, rel=1e-4)


def test_the_defaults_are_those_of_the_original():
    config = codial.preset("vicreg/paper")
    options = config.method
    assert (options.invariance_weight, options.variance_weight, options.covariance_weight) == (25, 25, 1)
    with torch.device("meta"):
        backbone = build_backbone(config)
    assert round(options.expander * backbone.feature_dim) == 8192


@pytest.mark.parametrize(
    ("field", "value"),
    [("expander", 0.0), ("invariance_weight", -1.0), ("variance_weight", -1.0), ("covariance_weight", -1.0)],
)
def test_invalid_settings_are_refused(field, value):
    with pytest.raises(CodialError, match=f"method.{field} is {value}"):
        VICRegConfig(**{field: value})
