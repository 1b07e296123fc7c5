"""Losses of joint-embedding methods, compared with NumPy, and their invariances."""

import math

import numpy as np
import pytest
import torch

from codial.errors import CodialError
from codial.losses import (
    BarlowTwinsLoss,
    InfoNCE,
    VICRegLoss,
    barlow_twins,
    info_nce,
    matching_accuracy,
    negative_cosine,
    nt_xent,
    vicreg_terms,
)

IMAGES, DIMS = 7, 5
PAIRWISE = [info_nce, nt_xent, barlow_twins, VICRegLoss(), negative_cosine]
name = lambda loss: getattr(loss, "__name__", type(loss).__name__)  # noqa: E731


@pytest.fixture
def views(generator):
    """Two correlated sets of embeddings that are neither centered nor of equal lengths."""
    common = torch.randn(IMAGES, DIMS, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, IMAGES, DIMS, generator=generator, dtype=torch.float64)
    return tuple(2 * common + noise + 0.5)


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


# References


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_the_mean_over_all_views_with_all_others_as_candidates(views, temperature):
    """SimCLR's equation 1, by an explicit loop: 2N - 2 negatives and the positive in each denominator."""
    both = np.concatenate([view.numpy() for view in views])
    losses = []
    for i in range(2 * IMAGES):
        scores = [math.exp(cosine(both[i], both[j]) / temperature) for j in range(2 * IMAGES) if j != i]
        assert len(scores) == 1 + 2 * IMAGES - 2
        positive = math.exp(cosine(both[i], both[(i + IMAGES) % (2 * IMAGES)]) / temperature)
        losses.append(-math.log(positive / sum(scores)))
    assert nt_xent(*views, temperature).item() == pytest.approx(np.mean(losses), rel=1e-12)
    assert InfoNCE(temperature, within=True)(*views) == nt_xent(*views, temperature)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_info_nce_has_the_other_view_of_other_images_as_negatives(views, temperature):
    a, b = (view.numpy() for view in views)
    losses = []
    for one, other in ((a, b), (b, a)):
        for i in range(IMAGES):
            scores = [math.exp(cosine(one[i], other[j]) / temperature) for j in range(IMAGES)]
            losses.append(-math.log(scores[i] / sum(scores)))
    assert info_nce(*views, temperature).item() == pytest.approx(np.mean(losses), rel=1e-12)
    assert InfoNCE(temperature)(*views) == info_nce(*views, temperature)


@pytest.mark.parametrize("weight", [0.0, 5e-3, 1.0])
def test_barlow_twins_is_computed_from_numpys_correlations(views, weight):
    correlations = np.corrcoef(*(view.numpy() for view in views), rowvar=False)[:DIMS, DIMS:]
    diagonal = np.diag(correlations)
    off = correlations[~np.eye(DIMS, dtype=bool)]
    expected = ((1 - diagonal) ** 2).sum() + weight * (off**2).sum()
    assert barlow_twins(*views, weight).item() == pytest.approx(expected, rel=1e-4)  # batch norm's epsilon
    assert BarlowTwinsLoss(weight)(*views) == barlow_twins(*views, weight)


def test_vicreg_is_computed_from_numpys_variances_and_covariances(views):
    a, b = (view.numpy() / 3 for view in views)  # so that some standard deviations are below 1 and some above
    terms = vicreg_terms(*(view / 3 for view in views))
    hinges = [np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)) for z in (a, b)]
    assert 0 < np.mean(np.array(hinges) == 0) < 1
    covariances = [np.cov(z, rowvar=False)[~np.eye(DIMS, dtype=bool)] for z in (a, b)]
    assert terms.invariance.item() == pytest.approx(np.mean((a - b) ** 2), rel=1e-12)
    assert terms.variance.item() == pytest.approx(np.mean(hinges), rel=1e-12)
    assert terms.covariance.item() == pytest.approx(sum((c**2).sum() / DIMS for c in covariances), rel=1e-12)
    weighted = 2 * terms.invariance + 3 * terms.variance + 5 * terms.covariance
    assert VICRegLoss(2, 3, 5)(*(view / 3 for view in views)).item() == pytest.approx(weighted.item())
    default = 25 * terms.invariance + 25 * terms.variance + terms.covariance
    assert VICRegLoss().combine(terms) == default


def test_negative_cosine_is_the_squared_distance_of_unit_vectors(views):
    a, b = (view.numpy() / np.linalg.norm(view.numpy(), axis=1, keepdims=True) for view in views)
    assert negative_cosine(*views).item() == pytest.approx(((a - b) ** 2).sum(1).mean(), rel=1e-12)


def test_matching_accuracy_counts_the_views_whose_nearest_other_view_is_their_own(views):
    both = np.concatenate([view.numpy() for view in views])
    nearest = [
        max((j for j in range(2 * IMAGES) if j != i), key=lambda j: cosine(both[i], both[j])) for i in range(2 * IMAGES)
    ]
    expected = np.mean([nearest[i] == (i + IMAGES) % (2 * IMAGES) for i in range(2 * IMAGES)])
    assert 0 < expected < 1
    assert matching_accuracy(*views).item() == pytest.approx(expected)


# Closed forms


def test_alike_embeddings_cost_the_logarithm_of_the_candidates():
    ones = torch.ones(IMAGES, DIMS)
    assert info_nce(ones, ones).item() == pytest.approx(math.log(IMAGES), rel=1e-6)
    assert nt_xent(ones, ones).item() == pytest.approx(math.log(2 * IMAGES - 1), rel=1e-6)


def test_orthogonal_embeddings_have_the_loss_of_one_cosine_of_1_among_zeros():
    eye = torch.eye(IMAGES)
    assert info_nce(eye, eye, 0.5).item() == pytest.approx(math.log(1 + (IMAGES - 1) * math.exp(-2)), rel=1e-6)
    assert nt_xent(eye, eye, 0.5).item() == pytest.approx(math.log(1 + (2 * IMAGES - 2) * math.exp(-2)), rel=1e-6)


# Invariances


@pytest.mark.parametrize("loss", [*PAIRWISE, matching_accuracy], ids=name)
def test_the_order_of_images_does_not_matter(loss, views, generator):
    order = torch.randperm(IMAGES, generator=generator)
    torch.testing.assert_close(loss(*(view[order] for view in views)), loss(*views))
    assert not torch.allclose(loss(views[0], views[1].roll(1, 0)), loss(*views)), "but the matching does"


@pytest.mark.parametrize("loss", [*PAIRWISE, matching_accuracy], ids=name)
def test_the_views_may_be_exchanged(loss, views):
    torch.testing.assert_close(loss(*views[::-1]), loss(*views))


@pytest.mark.parametrize("loss", [info_nce, nt_xent, negative_cosine, matching_accuracy], ids=name)
def test_losses_of_cosines_ignore_the_length_of_each_embedding(loss, views, generator):
    lengths = 0.1 + torch.rand(2, IMAGES, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        loss(*(view * length for view, length in zip(views, lengths, strict=True))), loss(*views)
    )


@pytest.mark.parametrize("loss", [info_nce, nt_xent, VICRegLoss(0, 1, 0), negative_cosine], ids=name)
def test_a_rotation_of_the_embedding_space_changes_only_losses_of_single_dimensions(loss, views, generator):
    rotation = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=generator, dtype=torch.float64)).Q
    same = torch.allclose(loss(*(view @ rotation / 3 for view in views)), loss(*(view / 3 for view in views)))
    assert same == (not isinstance(loss, VICRegLoss))


def test_barlow_twins_ignores_scale_and_shift_of_each_dimension_but_vicreg_does_not(views, generator):
    scale, shift = 0.5 + torch.rand(2, DIMS, generator=generator, dtype=torch.float64)
    views = tuple(view / 3 for view in views)  # so that some standard deviations are below 1
    changed = tuple(view * scale + shift for view in views)
    torch.testing.assert_close(barlow_twins(*changed), barlow_twins(*views), rtol=1e-4, atol=0)
    for term, other in zip(vicreg_terms(*changed), vicreg_terms(*views), strict=True):
        assert not torch.allclose(term, other)
    shifted = vicreg_terms(*(view + shift for view in views))
    torch.testing.assert_close(shifted, vicreg_terms(*views))  # a shift of both views


# Gradients and precision


def test_no_gradient_reaches_the_target_of_the_negative_cosine(views):
    predicted, target = (view.clone().requires_grad_() for view in views)
    negative_cosine(predicted, target).backward()
    assert predicted.grad.abs().sum() > 0
    assert target.grad is None


@pytest.mark.parametrize("loss", PAIRWISE[:4], ids=name)
def test_gradients_are_derivatives(loss, views):
    inputs = tuple(view.clone().requires_grad_() for view in views)
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-7)


@pytest.mark.parametrize("loss", PAIRWISE, ids=name)
def test_autocast_does_not_change_the_precision(loss, views):
    views = tuple(view.float() for view in views)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(*views)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(*views))
    assert loss(*(view.bfloat16() for view in views)).dtype == torch.float32


# Bad input


@pytest.mark.parametrize("loss", [*PAIRWISE, matching_accuracy], ids=name)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4, 3), (5, 3)), ((4,), (4,)), ((1, 3), (1, 3))], ids=str)
def test_embeddings_of_other_shapes_are_refused(loss, shapes):
    with pytest.raises(CodialError, match=r"Embeddings are \[.*expected \[N, D\] for both"):
        loss(*(torch.ones(shape) for shape in shapes))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperatures_that_are_not_positive_are_refused(temperature, views):
    for call in (lambda: InfoNCE(temperature), *(lambda f=f: f(*views, temperature) for f in (info_nce, nt_xent))):
        with pytest.raises(CodialError, match=f"temperature is {temperature}; expected a positive number"):
            call()


def test_negative_weights_are_refused(views):
    for call in (lambda: BarlowTwinsLoss(-1.0), lambda: barlow_twins(*views, -1.0)):
        with pytest.raises(CodialError, match=r"redundancy_weight is -1.0; expected a number >= 0"):
            call()
    for field in ("invariance_weight", "variance_weight", "covariance_weight"):
        with pytest.raises(CodialError, match=f"{field} is -1; expected a number >= 0"):
            VICRegLoss(**{field: -1})
