"""Bounds on mutual information: closed forms, independent references, invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp
from torch.nn.functional import cross_entropy, softplus

from codial.evaluate import toy_bounds
from codial.losses import BOUNDS, TWO_LN2, ceiling, dv_bound, infonce_bound, js_bound, nwj_bound

SCORES = arrays(np.float64, (6, 5), elements=st.floats(-80, 80))  # positives in the first column


NATS, BATCH = [0.0, 1.0, 2.0, 20.0], 256


@pytest.fixture(scope="module")
def optimal():
    """The optimal critic's estimates by bound, one row for each of NATS."""
    return toy_bounds.optimal_estimates(NATS, dims=4, batch=BATCH, batches=60)


def split(scores):
    scores = torch.as_tensor(scores)
    return scores[:, 0], scores[:, 1:]


# Every bound


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ("js", lambda p, n: TWO_LN2 - np.log1p(np.exp(-p)).mean() - np.log1p(np.exp(n)).mean()),
        (
            "infonce",
            lambda p, n: np.mean(
                [math.log(n.shape[1] + 1) + a - logsumexp([a, *b]) for a, b in zip(p, n, strict=True)]
            ),
        ),
        ("nwj", lambda p, n: p.mean() - np.exp(n - 1).mean()),
        ("dv", lambda p, n: p.mean() - np.log(np.exp(n).mean())),
    ],
)
def test_bounds_are_their_formulas(bound, expected, generator):
    positive, negative = split(torch.randn(7, 6, generator=generator))
    reference = expected(positive.double().numpy(), negative.double().numpy())
    assert BOUNDS[bound](positive, negative).item() == pytest.approx(reference, abs=1e-6)
    by_image = BOUNDS[bound](positive[:, None], negative[:, None])  # any leading shape
    assert by_image.item() == pytest.approx(reference, abs=1e-6)


@pytest.mark.parametrize(
    ("bound", "nats", "expected", "tolerance"),
    [
        ("dv", 0.0, 0.0, 0.01),
        ("dv", 2.0, 2.0, 0.05),
        ("nwj", 1.0, 1.0, 0.05),
        ("nwj", 2.0, 2.0, 0.1),
        ("infonce", 0.0, 0.0, 0.01),
        ("infonce", 1.0, 1.0, 0.05),
        ("infonce", 20.0, math.log(BATCH), 0.02),
        ("js", 20.0, TWO_LN2, 0.02),
    ],
)
def test_the_optimal_critic_of_gaussians_reaches_the_truth_or_the_ceiling(bound, nats, expected, tolerance, optimal):
    """The optimal score is the log ratio of the densities (for NWJ plus 1), here in closed form."""
    estimates = optimal[bound][NATS.index(nats)]
    assert estimates.mean().item() == pytest.approx(expected, abs=tolerance)
    assert (estimates <= ceiling(bound, BATCH - 1) + 1e-6).all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_gradients_agree_with_finite_differences(bound, generator):
    positive, negative = split(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    assert torch.autograd.gradcheck(BOUNDS[bound], (positive.clone().requires_grad_(), negative.requires_grad_()))


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_in_half_precision_are_averaged_in_float32(bound, dtype):
    positive, negative = torch.full((1000,), 3.0, dtype=dtype), torch.full((1000, 4), -3.0, dtype=dtype)
    result = BOUNDS[bound](positive, negative)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(BOUNDS[bound](positive.double(), negative.double()).item(), abs=1e-5)


@pytest.mark.parametrize("bound", BOUNDS)
def test_permuting_positives_with_their_negatives_changes_nothing(bound, generator):
    positive, negative = split(torch.randn(7, 6, generator=generator))
    order = torch.randperm(7, generator=generator)
    torch.testing.assert_close(BOUNDS[bound](positive[order], negative[order]), BOUNDS[bound](positive, negative))
    torch.testing.assert_close(BOUNDS[bound](positive, negative.flip(1)), BOUNDS[bound](positive, negative))


def test_ceilings():
    assert [ceiling(bound, 3) for bound in ("js", "infonce", "nwj", "dv")] == [TWO_LN2, math.log(4), math.inf, math.inf]


# One bound


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_infonce_is_a_cross_entropy_that_never_exceeds_its_ceiling(scores):
    bound = infonce_bound(*split(scores)).item()
    assert bound <= math.log(5) + 1e-9
    entropy = cross_entropy(torch.as_tensor(scores), torch.zeros(6, dtype=torch.int64)).item()
    assert bound == pytest.approx(math.log(5) - entropy, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_donsker_varadhan_is_never_below_nguyen_wainwright_jordan(scores):
    """exp(x - 1) >= x; equal if the mean of exp over negatives is e."""
    dv, nwj = dv_bound(*split(scores)), nwj_bound(*split(scores))
    assert dv >= nwj - 1e-9
    positive, negative = split(scores)
    shift = 1 - (negative.flatten().logsumexp(0) - math.log(negative.numel()))
    assert nwj_bound(positive + shift, negative + shift).item() == pytest.approx(dv.item(), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(SCORES, st.floats(-50, 50))
def test_a_constant_on_all_scores_changes_neither_infonce_nor_donsker_varadhan(scores, constant):
    for bound in (infonce_bound, dv_bound):
        assert bound(*split(scores + constant)).item() == pytest.approx(bound(*split(scores)).item(), abs=1e-9)


def test_infonce_ignores_a_function_of_the_anchor(generator):
    positive, negative = split(torch.randn(6, 5, generator=generator))
    shift = torch.randn(6, generator=generator)
    torch.testing.assert_close(
        infonce_bound(positive + shift, negative + shift[:, None]), infonce_bound(positive, negative)
    )


@pytest.mark.parametrize("bound", [infonce_bound, dv_bound])
def test_large_scores_do_not_overflow(bound):
    positive, negative = torch.full((4,), 3e4), torch.full((4, 3), 2e4)
    assert torch.isfinite(bound(positive, negative))


def test_few_negatives_bias_donsker_varadhan_upwards():
    """The mean over batches is above the truth, less so with more negatives (Jensen's inequality)."""
    few, many = (toy_bounds.optimal_estimates([2.0], 4, size, 400)["dv"].mean().item() for size in (4, 64))
    assert few > many + 0.1
    assert many > 2.0 - 0.05


# The Jensen-Shannon bound


def test_constant_scores_of_zero_give_a_bound_of_zero():
    assert js_bound(torch.zeros(4, 10), torch.zeros(7)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("joint", "marginal"), [(1.0, -2.0), (-1.0, 2.0), (0.5, 0.5), (50.0, -50.0)])
def test_constant_scores_have_a_closed_form(joint, marginal):
    expected = TWO_LN2 - math.log1p(math.exp(-joint)) - math.log1p(math.exp(marginal))
    assert js_bound(torch.full((3,), joint), torch.full((2, 2), marginal)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1, 10, 1e3, 1e30])
def test_the_bound_is_at_most_2_ln_2_and_finite(scale, generator):
    for _ in range(20):
        scores = scale * torch.randn(2, 50, generator=generator)
        assert js_bound(scores[0].abs(), -scores[1].abs()) <= TWO_LN2 + 1e-6
        assert torch.isfinite(js_bound(*scores))


def test_the_gradient_of_the_bound_is_that_of_the_papers_form(generator):
    """Equation 4 without the offset, as in Multi-View Information Bottleneck."""
    scores = torch.randn(2, 30, generator=generator, dtype=torch.float64, requires_grad=True)
    ours = torch.autograd.grad(js_bound(*scores), scores)[0]
    paper = torch.autograd.grad(-softplus(-scores[0]).mean() - softplus(scores[1]).mean(), scores)[0]
    torch.testing.assert_close(ours, paper)
    closed_form = torch.stack((torch.sigmoid(-scores[0]), -torch.sigmoid(scores[1]))).detach() / 30
    torch.testing.assert_close(ours, closed_form)


@pytest.mark.parametrize(
    "counts",
    [
        np.array([[10, 2, 0], [1, 12, 5], [3, 0, 7]]),
        np.array([[5, 10], [10, 20]]),  # independent: 0
        np.eye(4, dtype=int) * 3,  # one determines the other, four equally likely
    ],
)
def test_the_optimum_on_a_discrete_distribution_is_twice_the_jensen_shannon_divergence(counts):
    """The optimal critic of a discrete joint distribution is log(p / q); its bound is 2 JSD(p, q)."""
    joint = counts / counts.sum()
    product = np.outer(joint.sum(1), joint.sum(0))
    middle = (joint + product) / 2

    def divergence(p, q):
        return (p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum()

    jsd = (divergence(joint, middle) + divergence(product, middle)) / 2
    with np.errstate(divide="ignore"):
        best = torch.from_numpy(np.log(joint) - np.log(product)).clamp_min(-100)
    # Every cell in proportion to its probability: `counts` under the joint, products of the margins under the other.
    joint_cells = torch.repeat_interleave(torch.arange(counts.size), torch.from_numpy(counts.ravel()))
    margins = np.outer(counts.sum(1), counts.sum(0)).ravel()
    product_cells = torch.repeat_interleave(torch.arange(counts.size), torch.from_numpy(margins))

    def bound(critic):
        return js_bound(critic.flatten()[joint_cells], critic.flatten()[product_cells])

    assert bound(best) == pytest.approx(2 * jsd, abs=1e-9)
    learned = torch.zeros(counts.shape, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([learned], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -bound(learned)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert bound(learned).item() == pytest.approx(2 * jsd, abs=1e-4)
    assert bound(learned).item() <= 2 * jsd + 1e-9
