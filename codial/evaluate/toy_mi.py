"""Toy problems on Gaussians with known mutual information, on which critics and bottlenecks are trained in seconds.

Information is in nats. Several critics or encoders are trained in parallel as one batched network (`torch.func`). Their
losses are summed; each network's gradient depends on its own loss only, so training is as if they were separate.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import softplus

from codial.losses import Critic
from codial.losses.bottleneck import BetaSchedule, sampled_symmetrised_kl, symmetrised_kl
from codial.losses.bounds import js_bound

# --- Two Gaussians whose coordinates are correlated one by one


def correlation_for(information: Tensor | float, dims: int) -> Tensor:
    """Return the correlation at which `dims` correlated pairs of coordinates have this total mutual information.

    A pair with correlation r shares `-log(1 - r^2) / 2` nats (Cover and Thomas, Elements of Information Theory, 8.5).
    """
    return (-torch.expm1(-2 * torch.as_tensor(information, dtype=torch.float64) / dims)).sqrt().float()


def sample_correlated(correlation: Tensor, count: int, dims: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sample pairs of standard Gaussian vectors for each of R correlations, [R, count, dims] each."""
    x, noise = torch.randn(2, len(correlation), count, dims, generator=generator)
    r = correlation.view(-1, 1, 1)
    return x, r * x + (1 - r.square()).sqrt() * noise


def log_ratio(x: Tensor, y: Tensor, correlation: Tensor) -> Tensor:
    """Return log p(x, y) / (p(x) p(y)), [R, N], of pairs [R, N, D]: the optimal critic's score."""
    r = correlation.view(-1, 1, 1).double()
    x, y = x.double(), y.double()
    exponent = (2 * r * x * y - r.square() * (x.square() + y.square())) / (2 * (1 - r.square()))
    return (exponent - torch.log1p(-r.square()) / 2).sum(-1)


def best_bound(information: Sequence[float], dims: int, count: int = 20_000, seed: int = 0) -> Tensor:
    """Return the optimal critic's Jensen-Shannon bound for each true information, [R] nats, by Monte Carlo.

    The optimal critic's score is `log_ratio`; its bound is twice the Jensen-Shannon divergence between the joint
    density and the product of the marginals (Goodfellow et al., 2014, theorem 1).
    """
    bounds = []
    for nats in information:  # one at a time, to save memory; all with the same noise, so that the curve is smooth
        correlation = correlation_for(nats, dims).view(1)
        x, y = sample_correlated(correlation, count, dims, torch.Generator().manual_seed(seed))
        bounds.append(_bounds(log_ratio(x, y, correlation), log_ratio(x.roll(1, 1), y, correlation)))
    return torch.cat(bounds)


class InformationEstimates(NamedTuple):
    """Trained critics' estimates on Gaussians of known mutual information; each [R], nats.

    Attributes:
        information: true mutual information.
        best: the optimal critic's Jensen-Shannon bound, on the test pairs.
        bound: the trained critic's bound, on the test pairs.
        score: the trained critic's mean score of test pairs; the optimal critic's would be the true information.
    """

    information: Tensor
    best: Tensor
    bound: Tensor
    score: Tensor


def estimate_information(
    information: Sequence[float], dims: int, steps: int = 600, batch: int = 128, hidden: int = 64, seed: int = 0
) -> InformationEstimates:
    """Train a critic for each amount of mutual information, and compare its bound with the optimal critic's.

    Args:
        information: R true values in nats, at least 0.
        dims: dimension of each of the two Gaussians.
        steps: steps of Adam, each on new samples.
        batch: pairs per step.
        hidden: units in each of the critic's two hidden layers.
        seed: seed of weights and samples.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.as_tensor(information, dtype=torch.float64)
    correlation = correlation_for(truth, dims)
    critics = Ensemble(lambda: Critic(dims, hidden), [seed] * len(truth))
    optimizer = torch.optim.Adam(critics.parameters(), lr=2e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x, y = sample_correlated(correlation, batch, dims, generator)
        descend(optimizer, -_bounds(critics(x, y), critics(x.roll(1, 1), y)).sum())
        schedule.step()
    x, y = sample_correlated(correlation, 20_000, dims, generator)
    shuffled = x.roll(1, 1)
    best = _bounds(log_ratio(x, y, correlation), log_ratio(shuffled, y, correlation))
    with torch.no_grad():
        joint = critics(x, y)
        marginal = critics(shuffled, y)
    return InformationEstimates(truth, best, _bounds(joint, marginal), joint.mean(1))


# --- The symmetrized KL divergence, in closed form and from single samples


class DivergenceEstimates(NamedTuple):
    """Symmetrized Kullback-Leibler divergences of N pairs of Gaussians, nats.

    Attributes:
        closed: [N], closed form.
        sampled: [N, samples], single-sample estimates.
    """

    closed: Tensor
    sampled: Tensor


def compare_divergences(count: int = 40, z_dim: int = 8, samples: int = 1000, seed: int = 0) -> DivergenceEstimates:
    """Compute the divergence of random pairs of diagonal Gaussians, from similar to distant, in both ways."""
    generator = torch.Generator().manual_seed(seed)
    distance = torch.logspace(-2, 0.3, count).view(-1, 1)  # scales the differences of means and log deviations
    shift, stretch1, stretch2 = torch.randn(3, count, z_dim, generator=generator)
    mu1 = torch.zeros(count, z_dim)
    mu2 = distance * shift
    sigma1 = (distance * stretch1 / 3).exp()
    sigma2 = (distance * stretch2 / 3).exp()
    noise1, noise2 = torch.randn(2, count, samples, z_dim, generator=generator)
    m1, s1, m2, s2 = (x.unsqueeze(1) for x in (mu1, sigma1, mu2, sigma2))  # [N, 1, Z]
    sampled = sampled_symmetrised_kl(m1, s1, m1 + s1 * noise1, m2, s2, m2 + s2 * noise2)
    return DivergenceEstimates(symmetrised_kl(mu1, sigma1, mu2, sigma2), sampled)


# --- Two views with a shared and a private part


class BottleneckResult(NamedTuple):
    """Information that a stochastic encoder keeps of its view, and the course of its training.

    Attributes:
        shared: information in the code about the part that both views share, nats.
        private: information about the view's private part, given the shared one, nats.
        mi_js: the bound at each step, nats.
        skl: the divergence at each step, nats.
        beta: beta at each step.
        last_beta: beta at the end of the schedule.
    """

    shared: float
    private: float
    mi_js: list[float]
    skl: list[float]
    beta: list[float]
    last_beta: float


SHARED = 2  # coordinates that both views share
PRIVATE = 4  # coordinates of one view only
PRIVATE_SCALE = 3.0  # standard deviation of private coordinates; that of shared ones is 1


class LinearEncoder(nn.Module):
    """Map a view [N, D] to a Gaussian code with a linear mean and a constant standard deviation per dimension."""

    def __init__(self, inputs: int, z_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(z_dim, inputs) * inputs**-0.5)
        self.raw_sigma = nn.Parameter(torch.zeros(z_dim))

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations, [N, Z] each."""
        mu = view @ self.weight.T
        return mu, softplus(self.raw_sigma).expand_as(mu)


def train_bottlenecks(
    schedules: Sequence[BetaSchedule],
    agreement: float = 1.0,
    steps: int = 400,
    batch: int = 128,
    z_dim: int = 4,
    seed: int = 0,
) -> list[BottleneckResult]:
    """Train an encoder and a critic with the loss `beta * skl - mi_js` (equation 6), once for each schedule of beta.

    A view is a rotated mixture of two shared coordinates and four private ones. The code is Gaussian, so the
    information that it keeps of either part has a closed form. All runs have the same samples and initial weights.

    Args:
        schedules: schedules of beta.
        agreement: correlation of the two views' shared coordinates; 1 if they are equal.
        steps: steps of Adam.
        batch: pairs of views per step.
        z_dim: dimension of the code.
        seed: seed of weights and samples.
    """
    generator = torch.Generator().manual_seed(seed)
    seeds = [seed] * len(schedules)
    mix = torch.linalg.qr(torch.randn(SHARED + PRIVATE, SHARED + PRIVATE, generator=generator))[0]
    encoders = Ensemble(lambda: LinearEncoder(SHARED + PRIVATE, z_dim), seeds)
    critics = Ensemble(lambda: Critic(z_dim, 64), seeds)
    optimizer = torch.optim.Adam([*encoders.parameters(), *critics.parameters()], lr=5e-3)
    traces = []
    for step in range(steps):
        views = (view.expand(len(schedules), -1, -1) for view in _two_views(batch, agreement, mix, generator))
        codes = [encoders(view) for view in views]
        mi_js, skl = _alignment(codes, critics, generator)
        beta = torch.tensor([schedule.at(step / steps) for schedule in schedules])
        descend(optimizer, (beta * skl - mi_js).sum())
        traces.append(torch.stack((mi_js.detach(), skl.detach(), beta)))
    mi_js, skl, beta = torch.stack(traces, -1).tolist()  # [3, R, steps]
    kept = [_kept_information(weight, raw, mix) for weight, raw in zip(*encoders.parameters(), strict=True)]
    last = [schedule.at(1.0) for schedule in schedules]
    return [BottleneckResult(*kept[r], mi_js[r], skl[r], beta[r], last[r]) for r in range(len(schedules))]


def constant_beta(beta: float) -> BetaSchedule:
    """Return a schedule of constant beta."""
    return BetaSchedule(beta, beta)


def rising_beta(beta: float) -> BetaSchedule:
    """Return a schedule that raises beta from 1e-6 during the complete run."""
    return BetaSchedule(1e-6, beta, hold=0.0, ramp=1.0)


def _two_views(count: int, agreement: float, mix: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Sample pairs of views, [count, D] each."""
    first, noise = torch.randn(2, count, SHARED, generator=generator)
    second = agreement * first + (1 - agreement**2) ** 0.5 * noise
    private = PRIVATE_SCALE * torch.randn(2, count, PRIVATE, generator=generator)
    return [torch.cat(parts, 1) @ mix.T for parts in ((first, private[0]), (second, private[1]))]


def _alignment(
    codes: Sequence[tuple[Tensor, Tensor]], critics: "Ensemble", generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the bound and the divergence, [R] each, of codes [R, N, Z]."""
    (mu1, sigma1), (mu2, sigma2) = codes
    noise1, noise2 = torch.randn(2, *mu1.shape[1:], generator=generator)  # the same for all runs
    z1 = mu1 + sigma1 * noise1
    z2 = mu2 + sigma2 * noise2
    return _bounds(critics(z1, z2), critics(z1.roll(1, 1), z2)), symmetrised_kl(mu1, sigma1, mu2, sigma2).mean(1)


def _kept_information(weight: Tensor, raw_sigma: Tensor, mix: Tensor) -> tuple[float, float]:
    """Return the information in a linear code about the shared and the private part, nats, in closed form."""
    shared, private = (weight.detach() @ mix).double().split((SHARED, PRIVATE), dim=1)
    noise = torch.diag(softplus(raw_sigma.detach()).double().square())
    unexplained = noise + PRIVATE_SCALE**2 * private @ private.T  # covariance of the code given the shared part
    total = unexplained + shared @ shared.T
    logdets = [torch.logdet(covariance) for covariance in (total, unexplained, noise)]
    return float(logdets[0] - logdets[1]) / 2, float(logdets[1] - logdets[2]) / 2


# --- Shared helpers


class Ensemble:
    """R networks of one architecture, called on R inputs; those with the same seed have the same initial weights."""

    def __init__(self, make: Callable[[], nn.Module], seeds: Sequence[int]) -> None:
        networks = {}
        with torch.random.fork_rng(devices=[]):
            for seed in set(seeds):
                torch.manual_seed(seed)
                networks[seed] = make()
        self._module = networks[seeds[0]]
        self._state = stack_module_state([copy.deepcopy(networks[seed]) for seed in seeds])

    def parameters(self) -> list[Tensor]:
        """Return the parameters, each [R, ...]."""
        return list(self._state[0].values())

    def __call__(self, *inputs: Tensor) -> Any:
        """Return the R networks' outputs, [R, ...]."""
        return vmap(lambda state, *args: functional_call(self._module, state, args))(self._state[0], *inputs)


def _bounds(joint: Tensor, marginal: Tensor) -> Tensor:
    """Return the Jensen-Shannon bound, [R], of each row of scores [R, N]."""
    return torch.stack([js_bound(*scores) for scores in zip(joint, marginal, strict=True)])


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take a step of the optimizer."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
