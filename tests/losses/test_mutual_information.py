import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import softplus

from codial.losses import TWO_LN2, BetaSchedule, js_bound, sampled_symmetrised_kl, symmetrised_kl


@pytest.fixture
def gaussians(generator):
    """Means and standard deviations of two Gaussians in 6 dimensions for each of 5 images, float64."""
    mu = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    sigma = 0.3 + torch.rand(2, 5, 6, generator=generator, dtype=torch.float64)
    return mu[0], sigma[0], mu[1], sigma[1]


# The Jensen-Shannon bound


def test_constant_scores_of_zero_give_a_bound_of_zero():
    assert js_bound(torch.zeros(4, 10), torch.zeros(7)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("joint", "marginal"), [(1.0, -2.0), (-1.0, 2.0), (0.5, 0.5), (50.0, -50.0)])
def test_constant_scores_have_a_closed_form(joint, marginal):
    expected = TWO_LN2 - math.log1p(math.exp(-joint)) - math.log1p(math.exp(marginal))
    assert js_bound(torch.full((3,), joint), torch.full((2, 2), marginal)) == pytest.approx(expected, abs=1e-6)


def test_the_bound_averages_scores_of_any_shape(generator):
    joint, marginal = torch.randn(4, 10, generator=generator), torch.randn(13, generator=generator)
    j, m = joint.double().numpy(), marginal.double().numpy()
    expected = TWO_LN2 - np.log1p(np.exp(-j)).mean() - np.log1p(np.exp(m)).mean()
    assert js_bound(joint, marginal) == pytest.approx(expected, abs=1e-6)
    assert js_bound(joint.flatten(), marginal.view(1, 13)) == pytest.approx(expected, abs=1e-6)


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


def test_the_gradient_of_the_bound_agrees_with_finite_differences(generator):
    joint, marginal = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(js_bound, (joint.requires_grad_(), marginal.requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_in_half_precision_are_averaged_in_float32(dtype):
    scores = torch.full((1000,), 3.0, dtype=dtype)
    expected = TWO_LN2 - 2 * math.log1p(math.exp(-3))
    assert js_bound(scores, -scores).dtype == torch.float32
    assert js_bound(scores, -scores) == pytest.approx(expected, abs=1e-6)


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


# The symmetrized divergence


def reference_divergence(mu1, sigma1, mu2, sigma2):
    one, two = (Independent(Normal(m, s), 1) for m, s in ((mu1, sigma1), (mu2, sigma2)))
    return (kl_divergence(one, two) + kl_divergence(two, one)) / 2


def test_the_divergence_is_the_mean_of_torchs_in_both_directions(gaussians):
    torch.testing.assert_close(symmetrised_kl(*gaussians), reference_divergence(*gaussians))


def test_the_divergence_keeps_the_leading_shape_and_is_symmetric(gaussians):
    mu1, sigma1, mu2, sigma2 = (part.view(5, 1, 6).expand(5, 3, 6) for part in gaussians)
    forward, backward = symmetrised_kl(mu1, sigma1, mu2, sigma2), symmetrised_kl(mu2, sigma2, mu1, sigma1)
    assert forward.shape == (5, 3)
    torch.testing.assert_close(forward, backward)
    assert (forward > 0).all()


def test_the_divergence_of_equal_gaussians_is_zero(gaussians):
    mu, sigma, *_ = (part.float() for part in gaussians)
    assert symmetrised_kl(mu, sigma, mu, sigma).abs().max() < 1e-6


def test_the_divergence_of_simple_gaussians():
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    # Difference of means d = 2, both variances 1: d^2 / 2 in both directions.
    assert symmetrised_kl(zero, one, 2 * one, one) == pytest.approx(2.0)
    # Variances 1 and 4, equal means: ((1/4 + 4) - 2) / 4.
    assert symmetrised_kl(zero, one, zero, 2 * one) == pytest.approx(0.5625)


def test_the_gradient_of_the_divergence_agrees_with_finite_differences(gaussians):
    inputs = tuple(part.clone().requires_grad_() for part in gaussians)
    assert torch.autograd.gradcheck(symmetrised_kl, inputs)


def test_the_sampled_form_is_that_of_multi_view_information_bottleneck(gaussians, generator):
    mu1, sigma1, mu2, sigma2 = gaussians
    z1, z2 = (torch.normal(mu, sigma, generator=generator) for mu, sigma in ((mu1, sigma1), (mu2, sigma2)))
    one, two = Independent(Normal(mu1, sigma1), 1), Independent(Normal(mu2, sigma2), 1)
    theirs = (one.log_prob(z1) - two.log_prob(z1) + two.log_prob(z2) - one.log_prob(z2)) / 2
    torch.testing.assert_close(sampled_symmetrised_kl(mu1, sigma1, z1, mu2, sigma2, z2), theirs)


def test_the_sampled_form_is_unbiased(gaussians, generator):
    samples = 20_000
    mu1, sigma1, mu2, sigma2 = (part.expand(samples, 5, 6) for part in gaussians)
    z1, z2 = (torch.normal(mu, sigma, generator=generator) for mu, sigma in ((mu1, sigma1), (mu2, sigma2)))
    sampled = sampled_symmetrised_kl(mu1, sigma1, z1, mu2, sigma2, z2)
    error = sampled.std(0) / samples**0.5
    assert ((sampled.mean(0) - symmetrised_kl(*gaussians)).abs() < 4 * error).all()
    assert (error < 0.05 * symmetrised_kl(*gaussians)).all(), "precise enough to detect a bias"


# The schedule


def exponential_scheduler(start, end, iterations, start_iteration, at):
    """Multi-View Information Bottleneck's ExponentialScheduler, base 10: linear in the logarithm."""
    if at <= start_iteration:
        return start
    if at > start_iteration + iterations:
        return end
    slope = (math.log10(end) - math.log10(start)) / iterations
    return 10 ** (math.log10(start) + (at - start_iteration) * slope)


@pytest.mark.parametrize(
    ("start", "end", "hold", "ramp"),
    [(1e-6, 1.0, 0.053, 0.107), (1e-6, 1.0, 0.0, 1.0), (1e-3, 1.0, 0.5, 0.5), (1e-2, 1e-2, 0.1, 0.1)],
)
def test_the_schedule_equals_that_of_multi_view_information_bottleneck(start, end, hold, ramp):
    schedule = BetaSchedule(start, end, hold, ramp)
    total = 1000
    ours = [schedule.at(step / total) for step in range(total + 1)]
    theirs = [exponential_scheduler(start, end, ramp * total, hold * total, step) for step in range(total + 1)]
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours == sorted(ours)
    assert ours[0] == pytest.approx(start)
    assert ours[-1] == pytest.approx(end)


def test_the_schedule_holds_then_rises_exponentially_then_stays():
    schedule = BetaSchedule(start=1e-6, end=1.0, hold=0.2, ramp=0.4)
    assert schedule.at(0.0) == schedule.at(0.2) == pytest.approx(1e-6)
    assert schedule.at(0.4) == pytest.approx(1e-3)
    assert schedule.at(0.3) == pytest.approx(1e-6 * 10**1.5)
    assert schedule.at(0.6) == pytest.approx(1.0)
    assert schedule.at(0.600001) == schedule.at(1.0) == 1.0


def test_without_a_ramp_the_schedule_is_a_step():
    schedule = BetaSchedule(hold=0.5, ramp=0.0)
    assert [schedule.at(p) for p in (0, 0.5, 0.500001, 1)] == [1e-6, 1e-6, 1.0, 1.0]
