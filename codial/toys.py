"""Small problems whose answers are known: the package's own estimators on Gaussians, trained in seconds.

Information is in nats. Several critics or encoders are trained side by side as one batched network (`torch.func`):
their losses are summed, and since each parameter moves by its own gradient alone, each is trained as if it were alone.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import softplus

from codial.config import CodialOptions
from codial.information import beta_at, js_bound, sampled_symmetrised_kl, symmetrised_kl
from codial.models import Critic

# --- Two Gaussians whose coordinates are correlated one by one


def correlation_for(information: Tensor | float, dims: int) -> Tensor:
    """Return the correlation that gives `dims` pairs of coordinates that mutual information in all.

    A pair with correlation r shares `-log(1 - r^2) / 2` nats (Cover and Thomas, Elements of Information Theory, 8.5).
    """
    return (-torch.expm1(-2 * torch.as_tensor(information, dtype=torch.float64) / dims)).sqrt().float()


def draw_correlated(correlation: Tensor, count: int, dims: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pairs of standard Gaussian vectors for each of R correlations: [R, count, dims] and the same."""
    x, noise = torch.randn(2, len(correlation), count, dims, generator=generator)
    r = correlation.view(-1, 1, 1)
    return x, r * x + (1 - r.square()).sqrt() * noise


def log_ratio(x: Tensor, y: Tensor, correlation: Tensor) -> Tensor:
    """Return log p(x, y) / (p(x) p(y)), [R, N], of pairs [R, N, D]: the best score that a critic can give."""
    r = correlation.view(-1, 1, 1).double()
    x, y = x.double(), y.double()
    exponent = (2 * r * x * y - r.square() * (x.square() + y.square())) / (2 * (1 - r.square()))
    return (exponent - torch.log1p(-r.square()) / 2).sum(-1)


def best_bound(information: Sequence[float], dims: int, count: int = 20_000, seed: int = 0) -> Tensor:
    """Return the Jensen-Shannon bound of the best critic for each true information, [R] nats, by Monte-Carlo.

    The best critic's score is `log_ratio`; its bound is twice the Jensen-Shannon divergence between the pairs' joint
    density and the product of the two marginal ones (Goodfellow et al., 2014, theorem 1).
    """
    found = []
    for each in information:  # one by one, to save memory; all with the same draws, so that the curve is smooth
        correlation = correlation_for(each, dims).view(1)
        x, y = draw_correlated(correlation, count, dims, torch.Generator().manual_seed(seed))
        found.append(_bounds(log_ratio(x, y, correlation), log_ratio(x.roll(1, 1), y, correlation)))
    return torch.cat(found)


class Estimates(NamedTuple):
    """What a critic found about Gaussians that share a known amount of information; each [R], nats."""

    information: Tensor  # the truth
    best: Tensor  # the Jensen-Shannon bound of the best critic, on the pairs that the trained one is judged by
    bound: Tensor  # the bound of the trained critic, on pairs that it has not seen
    score: Tensor  # its mean score of pairs drawn together: the best critic's would be the truth


def estimate_information(
    information: Sequence[float], dims: int, steps: int = 600, batch: int = 128, hidden: int = 64, seed: int = 0
) -> Estimates:
    """Train a critic for each amount of information, and put its bound beside the best one.

    Args:
        information: R true values, nats, 0 or more.
        dims: coordinates of each of the two Gaussians.
        steps: of Adam, each on fresh pairs.
        batch: pairs a step.
        hidden: units in the critic's two hidden layers.
        seed: of weights and draws.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.as_tensor(information, dtype=torch.float64)
    correlation = correlation_for(truth, dims)
    critics = _SideBySide(lambda: Critic(dims, hidden), len(truth), seed)
    optimiser = torch.optim.Adam(critics.parameters(), lr=2e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x, y = draw_correlated(correlation, batch, dims, generator)
        _step(optimiser, -_bounds(critics(x, y), critics(x.roll(1, 1), y)).sum())
        schedule.step()
    x, y = draw_correlated(correlation, 20_000, dims, generator)
    apart = x.roll(1, 1)
    best = _bounds(log_ratio(x, y, correlation), log_ratio(apart, y, correlation))
    with torch.no_grad():
        joint, marginal = critics(x, y), critics(apart, y)
    return Estimates(truth, best, _bounds(joint, marginal), joint.mean(1))


# --- The symmetrised divergence, exact and from single draws


class Divergences(NamedTuple):
    """The symmetrised Kullback-Leibler divergence of N pairs of Gaussians, nats."""

    closed: Tensor  # [N] closed form
    sampled: Tensor  # [N, draws] one draw each


def compare_divergences(count: int = 40, z_dim: int = 8, draws: int = 1000, seed: int = 0) -> Divergences:
    """Compute the divergence of random pairs of diagonal Gaussians, near ones to far ones, in both ways."""
    generator = torch.Generator().manual_seed(seed)
    apart = torch.logspace(-2, 0.3, count).view(-1, 1)  # how far the two are moved, scaled and noised apart
    shift, stretch1, stretch2 = torch.randn(3, count, z_dim, generator=generator)
    mu1, mu2 = torch.zeros(count, z_dim), apart * shift
    sigma1, sigma2 = (apart * stretch1 / 3).exp(), (apart * stretch2 / 3).exp()
    noise1, noise2 = torch.randn(2, count, draws, z_dim, generator=generator)
    wide = [part.unsqueeze(1) for part in (mu1, sigma1, mu2, sigma2)]  # [N, 1, Z]
    z1, z2 = wide[0] + wide[1] * noise1, wide[2] + wide[3] * noise2
    sampled = sampled_symmetrised_kl(wide[0], wide[1], z1, wide[2], wide[3], z2)
    return Divergences(symmetrised_kl(mu1, sigma1, mu2, sigma2), sampled)


# --- Two views with a shared and a private part


class Bottleneck(NamedTuple):
    """What a stochastic encoder kept of its view, and how it came to."""

    shared: float  # information in the code about the part that both views show, nats
    private: float  # information about the view's own part, given the shared one, nats
    mi_js: list[float]  # the bound at each step
    skl: list[float]  # the divergence at each step
    beta: list[float]
    last_beta: float


SHARED, PRIVATE, PRIVATE_SCALE = 2, 4, 3.0  # coordinates of either part; the private ones are three times as large


class LinearEncoder(nn.Module):
    """Map a view [N, D] to a Gaussian code: a linear mean, and one standard deviation a dimension."""

    def __init__(self, inputs: int, z_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(z_dim, inputs) * inputs**-0.5)
        self.raw_sigma = nn.Parameter(torch.zeros(z_dim))

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations, [N, Z] each."""
        mu = view @ self.weight.T
        return mu, softplus(self.raw_sigma).expand_as(mu)


def train_bottlenecks(
    schedules: Sequence[CodialOptions],
    agreement: float = 1.0,
    steps: int = 400,
    batch: int = 128,
    z_dim: int = 4,
    seed: int = 0,
) -> list[Bottleneck]:
    """Train an encoder and a critic with the loss `beta * skl - mi_js` (equation 6), once for each schedule of beta.

    A view is a rotated mixture of two shared coordinates and four private ones. The code is Gaussian, so what it keeps
    of either part is known in closed form. All runs see the same draws and begin with the same weights.

    Args:
        schedules: of beta; nothing else in them is read.
        agreement: correlation of the two views' shared coordinates; 1 if both views show them alike.
        steps: of Adam.
        batch: pairs of views a step.
        z_dim: dimensions of the code.
        seed: of weights and draws.
    """
    generator = torch.Generator().manual_seed(seed)
    mix = torch.linalg.qr(torch.randn(SHARED + PRIVATE, SHARED + PRIVATE, generator=generator))[0]
    encoders = _SideBySide(lambda: LinearEncoder(SHARED + PRIVATE, z_dim), len(schedules), seed)
    critics = _SideBySide(lambda: Critic(z_dim, 64), len(schedules), seed)
    optimiser = torch.optim.Adam([*encoders.parameters(), *critics.parameters()], lr=5e-3)
    traces = []
    for step in range(steps):
        views = (view.expand(len(schedules), -1, -1) for view in _two_views(batch, agreement, mix, generator))
        codes = [encoders(view) for view in views]
        mi_js, skl = _alignment(codes, critics, generator)
        beta = torch.tensor([beta_at(step / steps, schedule) for schedule in schedules])
        _step(optimiser, (beta * skl - mi_js).sum())
        traces.append(torch.stack((mi_js.detach(), skl.detach(), beta)))
    mi_js, skl, beta = torch.stack(traces, -1).tolist()  # [3, R, steps]
    kept = [_kept(weight, raw_sigma, mix) for weight, raw_sigma in zip(*encoders.parameters(), strict=True)]
    last = [beta_at(1.0, schedule) for schedule in schedules]
    return [Bottleneck(*kept[r], mi_js[r], skl[r], beta[r], last[r]) for r in range(len(schedules))]


def constant_beta(beta: float) -> CodialOptions:
    """Return a schedule that keeps beta where it is."""
    return CodialOptions(beta_start=beta, beta_end=beta)


def rising_beta(beta: float) -> CodialOptions:
    """Return a schedule that raises beta from 1e-6 over the whole run."""
    return CodialOptions(beta_start=1e-6, beta_end=beta, beta_hold=0.0, beta_ramp=1.0)


def _two_views(count: int, agreement: float, mix: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Draw pairs of views, [count, D] each."""
    first, noise = torch.randn(2, count, SHARED, generator=generator)
    second = agreement * first + (1 - agreement**2) ** 0.5 * noise
    private = PRIVATE_SCALE * torch.randn(2, count, PRIVATE, generator=generator)
    return [torch.cat(parts, 1) @ mix.T for parts in ((first, private[0]), (second, private[1]))]


def _alignment(
    codes: Sequence[tuple[Tensor, Tensor]], critics: "_SideBySide", generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the bound and the divergence, [R] each, of codes [R, N, Z]."""
    (mu1, sigma1), (mu2, sigma2) = codes
    noise1, noise2 = torch.randn(2, *mu1.shape[1:], generator=generator)  # the same for all runs
    z1, z2 = mu1 + sigma1 * noise1, mu2 + sigma2 * noise2
    return _bounds(critics(z1, z2), critics(z1.roll(1, 1), z2)), symmetrised_kl(mu1, sigma1, mu2, sigma2).mean(1)


def _kept(weight: Tensor, raw_sigma: Tensor, mix: Tensor) -> tuple[float, float]:
    """Return the information that a linear code keeps of the shared and of the private part, nats, closed form."""
    shared, private = (weight.detach() @ mix).double().split((SHARED, PRIVATE), dim=1)
    noise = torch.diag(softplus(raw_sigma.detach()).double().square())
    unexplained = noise + PRIVATE_SCALE**2 * private @ private.T  # covariance of the code given the shared part
    whole = unexplained + shared @ shared.T
    volumes = [torch.logdet(covariance) for covariance in (whole, unexplained, noise)]
    return float(volumes[0] - volumes[1]) / 2, float(volumes[1] - volumes[2]) / 2


# --- What both kinds of problem use


class _SideBySide:
    """R networks of one kind, called on R inputs; all begin with the same weights."""

    def __init__(self, make: Callable[[], nn.Module], count: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first = make()
        self._plain = first
        self._state = stack_module_state([copy.deepcopy(first) for _ in range(count)])

    def parameters(self) -> list[Tensor]:
        """Return the parameters, each [R, ...]."""
        return list(self._state[0].values())

    def __call__(self, *inputs: Tensor) -> Any:
        """Return the R networks' outputs, [R, ...]."""
        return vmap(lambda state, *given: functional_call(self._plain, state, given))(self._state[0], *inputs)


def _bounds(joint: Tensor, marginal: Tensor) -> Tensor:
    """Return the Jensen-Shannon bound of each row of scores, [R, N] to [R]."""
    return torch.stack([js_bound(*scores) for scores in zip(joint, marginal, strict=True)])


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
