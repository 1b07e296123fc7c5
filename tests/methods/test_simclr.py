import math

import numpy as np
import pytest
import torch
from small_methods import small
from torch import nn

from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.simclr import SimCLRConfig
from codial.utils.batch_generator import BatchGenerator

IMAGES = 6


@pytest.fixture
def method(seed):
    torch.manual_seed(seed)
    return build(small("simclr", temperature=0.3))


@pytest.fixture
def batch(few, generator):
    views = sample_views(few.batch(range(IMAGES)), small("simclr").views, generator)
    return Batch(views, few.labels[:IMAGES], 0.0, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))


def test_the_loss_is_the_cross_entropy_of_the_other_view_among_all_others(method, batch):
    terms = method.terms(batch)
    assert set(terms) == {"loss", "pretext_accuracy"}
    embeddings = method.projector(method.backbone(batch.views.images.flatten(0, 1))).detach().double().numpy()
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    losses, hits = [], []
    for i in range(2 * IMAGES):  # views 2n and 2n + 1 are of the same image
        others = {j: embeddings[i] @ embeddings[j] for j in range(2 * IMAGES) if j != i}
        losses.append(math.log(sum(math.exp(s / 0.3) for s in others.values())) - others[i ^ 1] / 0.3)
        hits.append(max(others, key=others.get) == i ^ 1)
    assert terms["loss"].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert terms["pretext_accuracy"].item() == pytest.approx(np.mean(hits))


def test_the_loss_is_ln_of_the_candidates_by_chance_and_near_its_minimum_for_perfect_embeddings(method, batch):
    method.projector = nn.Identity()
    method.backbone.forward = lambda images: torch.ones(2 * IMAGES, 3)
    assert method.terms(batch)["loss"].item() == pytest.approx(math.log(2 * IMAGES - 1), rel=1e-5)
    method.backbone.forward = lambda images: torch.eye(IMAGES).repeat_interleave(2, 0)
    terms = method.terms(batch)
    assert terms["loss"].item() == pytest.approx(math.log(1 + (2 * IMAGES - 2) * math.exp(-1 / 0.3)), rel=1e-5)
    assert terms["pretext_accuracy"] == 1


def test_the_projector_has_the_shape_of_the_original():
    method = build(small("simclr", dims=128))
    features = method.backbone.feature_dim
    assert [tuple(p.shape) for p in method.projector.parameters() if p.ndim == 2] == [
        (features, features),
        (128, features),
    ]


@pytest.mark.parametrize(("field", "value"), [("dims", 0), ("temperature", 0.0)])
def test_invalid_settings_are_refused(field, value):
    with pytest.raises(CodialError, match=f"method.{field} is {value}"):
        SimCLRConfig(**{field: value})
