import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from codial.losses import BetaSchedule, sampled_symmetrised_kl, symmetrised_kl


@pytest.fixture
def gaussians(generator):
    """Means and standard deviations of two Gaussians in 6 dimensions for each of 5 images, float64."""
    mu = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    sigma = 0.3 + torch.rand(2, 5, 6, generator=generator, dtype=torch.float64)
    return mu[0], sigma[0], mu[1], sigma[1]


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
