"""The toy problems, compared with quadrature, torch's distributions and covariances."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from torch.distributions import MultivariateNormal, Normal
from torch.nn.functional import softplus

from codial.evaluate import toy_mi
from codial.losses.bounds import TWO_LN2


def covariance(correlation, dims):
    """Return the covariance of (x, y), [2 dims, 2 dims]."""
    eye = torch.eye(dims)
    return torch.cat((torch.cat((eye, correlation * eye), 1), torch.cat((correlation * eye, eye), 1)))


@pytest.mark.parametrize(("information", "dims"), [(0.0, 1), (0.5, 1), (2.0, 4), (8.0, 16)])
def test_correlation_for_inverts_mutual_information(information, dims):
    matrix = covariance(toy_mi.correlation_for(information, dims), dims).double()
    assert -torch.logdet(matrix) / 2 == pytest.approx(information, rel=1e-4, abs=1e-6)


def test_sampled_pairs_have_the_correlation(generator):
    x, y = toy_mi.sample_correlated(torch.tensor((0.0, 0.9)), 50_000, 2, generator)
    found = [np.corrcoef(x[r, :, 0], y[r, :, 0])[0, 1] for r in range(2)]
    assert found == pytest.approx([0.0, 0.9], abs=0.02)


def test_log_ratio_matches_torch_distributions(generator):
    correlation = torch.tensor((0.3, 0.8))
    x, y = toy_mi.sample_correlated(correlation, 5, 3, generator)
    for r in range(2):
        pair = MultivariateNormal(torch.zeros(6), covariance(correlation[r], 3))
        apart = Normal(0, 1).log_prob(torch.cat((x[r], y[r]), -1)).sum(-1)
        expected = pair.log_prob(torch.cat((x[r], y[r]), -1)) - apart
        torch.testing.assert_close(toy_mi.log_ratio(x, y, correlation)[r].float(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("information", [0.25, 1.0, 2.0])
def test_best_bound_matches_quadrature(information):
    r = float(toy_mi.correlation_for(information, 1))

    def integrand(x, y):
        apart = math.exp(-(x * x + y * y) / 2) / (2 * math.pi)
        joint = math.exp(-(x * x - 2 * r * x * y + y * y) / (2 * (1 - r * r))) / (2 * math.pi * math.sqrt(1 - r * r))
        middle = (joint + apart) / 2
        return sum(p * math.log(p / middle) for p in (joint, apart) if p > 0)  # sum of both divergences

    expected = dblquad(integrand, -6, 6, -6, 6, epsabs=1e-4)[0]
    assert float(toy_mi.best_bound([information], 1, count=100_000)) == pytest.approx(expected, abs=0.01)


def test_best_bound_increases_to_2_ln_2():
    bounds = toy_mi.best_bound([0, 0.5, 1, 2, 4, 8, 16], 4)
    assert bounds[0] == pytest.approx(0, abs=1e-6)
    assert (bounds.diff() > 0).all()
    assert 0.99 * TWO_LN2 < bounds[-1] < TWO_LN2


def test_trained_critics_approach_the_best_bound():
    found = toy_mi.estimate_information([0.0, 1.0, 2.0], dims=2, steps=300)
    assert (found.bound < found.best + 0.02).all()
    assert (found.bound > found.best - 0.1).all()
    assert found.score.tolist() == pytest.approx([0.0, 1.0, 2.0], abs=0.3)


def test_critics_are_trained_independently():
    together = toy_mi.estimate_information([1.0, 1.0], dims=2, steps=20)
    alone = toy_mi.estimate_information([1.0], dims=2, steps=20)
    again = toy_mi.estimate_information([1.0], dims=2, steps=20)
    assert torch.equal(alone.bound, again.bound)
    assert together.bound.mean() == pytest.approx(float(alone.bound), abs=0.05)  # other draws


def test_sampled_divergence_has_the_closed_form_as_mean():
    found = toy_mi.compare_divergences(count=5, z_dim=3, samples=4000, seed=1)
    assert found.sampled.shape == (5, 4000)
    standard_error = found.sampled.std(1) / 4000**0.5
    assert ((found.sampled.mean(1) - found.closed).abs() < 4 * standard_error).all()
    assert (found.closed.diff() > 0).all()  # from near to far


def test_kept_information_matches_covariances(generator):
    parts, z_dim = toy_mi.SHARED + toy_mi.PRIVATE, 3
    weight, raw_sigma = torch.randn(z_dim, parts, generator=generator), torch.randn(z_dim, generator=generator)
    mix = torch.linalg.qr(torch.randn(parts, parts, generator=generator))[0]
    shared, private = toy_mi._kept_information(weight, raw_sigma, mix)
    scale = torch.tensor([1.0] * toy_mi.SHARED + [toy_mi.PRIVATE_SCALE] * toy_mi.PRIVATE)
    to_code = weight @ mix * scale  # of standard Gaussian parts
    code = to_code @ to_code.T + torch.diag(softplus(raw_sigma) ** 2)
    whole = torch.cat((torch.cat((torch.eye(parts), to_code.T), 1), torch.cat((to_code, code), 1))).double()
    assert shared == pytest.approx(
        gaussian_information(whole, range(toy_mi.SHARED), range(parts, parts + z_dim)), abs=1e-4
    )
    both = gaussian_information(whole, range(parts), range(parts, parts + z_dim))
    assert shared + private == pytest.approx(both, abs=1e-4)


def gaussian_information(matrix, first, second):
    """Return the mutual information of two groups of coordinates with this joint covariance."""
    parts = [list(first), list(second), [*first, *second]]
    volumes = [float(torch.logdet(matrix[rows][:, rows])) for rows in parts]
    return (volumes[0] + volumes[1] - volumes[2]) / 2


@pytest.mark.slow
def test_constant_beta_collapses_and_rising_beta_does_not():
    early, late = toy_mi.train_bottlenecks([toy_mi.constant_beta(10), toy_mi.rising_beta(10)], steps=300)
    assert early.shared < 0.5 * late.shared
    assert early.mi_js[-1] < 0.3 < late.mi_js[-1]
    assert late.private < 0.1
    assert (early.last_beta, late.last_beta) == pytest.approx((10, 10))
    (correlated,) = toy_mi.train_bottlenecks([toy_mi.rising_beta(10)], 0.95, steps=300)
    assert correlated.shared < 0.5 * late.shared, "no schedule helps if the shared parts are only correlated"


def test_each_run_follows_its_schedule():
    runs = toy_mi.train_bottlenecks([toy_mi.constant_beta(0.5), toy_mi.rising_beta(1.0)], steps=10)
    assert runs[0].beta == pytest.approx([0.5] * 10)
    assert runs[1].beta == pytest.approx([1e-6 * 1e6 ** (step / 10) for step in range(10)], rel=1e-4)
    assert runs[0].mi_js[0] == runs[1].mi_js[0]  # the same weights and draws
    assert runs[0].skl[-1] != runs[1].skl[-1]


def test_train_bottlenecks_is_deterministic():
    first, again, other = (toy_mi.train_bottlenecks([toy_mi.constant_beta(0.1)], steps=5, seed=s) for s in (3, 3, 4))
    assert first == again
    assert first != other
