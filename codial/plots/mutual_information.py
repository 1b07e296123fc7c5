"""Figures about mutual information estimation and the information bottleneck. Information is in nats."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from codial.evaluate.toy_bounds import Estimates
from codial.evaluate.toy_mi import BottleneckResult, DivergenceEstimates, InformationEstimates
from codial.losses.bottleneck import BetaSchedule
from codial.losses.bounds import TWO_LN2, ceiling
from codial.plots.style import BLUE, COLORS, GRAY, GREEN, LABEL, ORANGE, PURPLE, SMALL, TITLE, VERMILION, subplots

LINE_STYLES = ("-", "--", ":", "-.")
Sweep = Mapping[str, Sequence[BottleneckResult]]  # "fixed" and "ramp": one bottleneck per final value of beta


def bound_and_truth(
    estimates: Mapping[int, InformationEstimates], optimal: Mapping[int, tuple[Sequence[float], Tensor]]
) -> Figure:
    """Plot the bounds and mean scores of trained critics against the true mutual information.

    Args:
        estimates: InformationEstimates by the dimension of each Gaussian.
        optimal: True values and the optimal critic's bounds, by the same dimension.
    """
    figure, grid = subplots(2.65 * (len(estimates) + 1), 3.1, 1, len(estimates) + 1)
    for axes, (dims, each) in zip(grid[0], estimates.items(), strict=False):
        _draw_bound(axes, each, *optimal[dims])
        axes.set_title(_dimensions(dims), fontsize=TITLE)
    grid[0, 0].set_ylabel("Jensen-Shannon bound (nats)", fontsize=LABEL)
    grid[0, 0].legend(fontsize=SMALL, loc="lower right", frameon=False)
    _draw_scores(grid[0, -1], estimates)
    for axes in grid[0]:
        axes.set_xlabel("true MI (nats)", fontsize=LABEL)
    return figure


def _draw_bound(axes: Axes, estimates: InformationEstimates, information: Sequence[float], bounds: Tensor) -> None:
    axes.axhline(TWO_LN2, color=GRAY, linestyle=":", label="maximum, 2 ln 2")
    axes.plot(information, bounds, color=COLORS["truth"], label="optimal critic")
    axes.plot(estimates.information, estimates.bound, "o", color=COLORS["estimate"], label="trained critic")
    axes.set_ylim(-0.05, TWO_LN2 + 0.1)


def _draw_scores(axes: Axes, estimates: Mapping[int, InformationEstimates]) -> None:
    end = max(float(each.information.max()) for each in estimates.values())
    axes.plot([0, end], [0, end], color=COLORS["truth"], label="optimal critic")
    for marker, (dims, each) in zip("os^Dv", estimates.items(), strict=False):
        axes.plot(each.information, each.score, marker, color=COLORS["estimate"], label=_dimensions(dims))
    axes.set_title("mean score of joint pairs", fontsize=TITLE)
    axes.set_ylabel("nats", fontsize=LABEL)
    axes.legend(fontsize=SMALL, loc="upper left", frameon=False)


def _dimensions(dims: int) -> str:
    return f"{dims} dimension{'s' * (dims > 1)}"


BOUND_NAMES = {"js": "Jensen-Shannon", "infonce": "InfoNCE", "nwj": "NWJ", "dv": "Donsker-Varadhan"}


def all_bounds(
    optimal: tuple[Sequence[float], Estimates], trained: tuple[Sequence[float], Estimates], batch: int
) -> Figure:
    """Plot every bound against the true mutual information, with a band of ± one std and with its ceiling.

    Args:
        optimal: True values, and the optimal critics' estimates of single batches.
        trained: True values, and the trained critics' estimates by seed.
        batch: Pairs in a batch; each positive has `batch - 1` negatives.
    """
    figure, grid = subplots(10.5, 3.6, 1, 3)
    titles = "optimal critics, single batches", "trained critics, by seed"
    for axes, title, (information, estimates) in zip(grid[0], titles, (optimal, trained), strict=False):
        end = max(information)
        axes.plot([0, end], [0, end], color=COLORS["truth"], linewidth=1, label="truth")
        _draw_estimates(axes, information, estimates)
        _draw_ceilings(axes, batch - 1)
        axes.set(xlim=(0, end), ylim=(-0.3, 1.25 * end))
        axes.set_title(title, fontsize=TITLE)
    grid[0, 0].set_ylabel("bound (nats)", fontsize=LABEL)
    grid[0, 0].legend(fontsize=SMALL, loc="upper left", frameon=False)
    _draw_deviations(grid[0, 2], *optimal)
    for axes in grid[0]:
        axes.set_xlabel("true MI (nats)", fontsize=LABEL)
    return figure


def _draw_estimates(axes: Axes, information: Sequence[float], estimates: Estimates) -> None:
    for style, (bound, values) in zip(LINE_STYLES, estimates.items(), strict=True):
        mean, std = values.mean(1), values.std(1)
        color = COLORS[f"mi_{bound}"]
        axes.fill_between(information, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
        axes.plot(information, mean, style, color=color, linewidth=1.8, label=BOUND_NAMES[bound])


def _draw_ceilings(axes: Axes, negatives: int) -> None:
    for bound, formula in {"js": "2 ln 2", "infonce": f"ln {negatives + 1}"}.items():
        height = ceiling(bound, negatives)
        axes.axhline(height, color=COLORS[f"mi_{bound}"], linestyle=":", linewidth=1)
        axes.annotate(
            formula, (0, height), xycoords=("axes fraction", "data"), xytext=(3, 2), textcoords="offset points",
            fontsize=SMALL, color=COLORS[f"mi_{bound}"],
        )  # fmt: skip


def _draw_deviations(axes: Axes, information: Sequence[float], estimates: Estimates) -> None:
    for style, (bound, values) in zip(LINE_STYLES, estimates.items(), strict=True):
        axes.plot(information, values.std(1), style, color=COLORS[f"mi_{bound}"], linewidth=1.8)
    axes.set(xlim=(0, max(information)), yscale="log", ylim=(1e-3, 10))
    axes.set_title("standard deviation of a batch (nats)", fontsize=TITLE)


def closed_and_sampled(divergences: DivergenceEstimates) -> Figure:
    """Plot single-sample estimates of the divergence against its closed form: mean, std, and one pair's histogram."""
    figure, grid = subplots(10, 3.5, 1, 2)
    left, right = grid[0]
    order = divergences.closed.argsort()
    closed = divergences.closed[order]
    sampled = divergences.sampled[order]
    left.plot(closed, closed, color=COLORS["truth"], label="closed form")
    mean_label = f"mean of {sampled.shape[1]:,} samples"
    left.plot(closed, sampled.mean(1), "o", markersize=4, color=COLORS["estimate"], label=mean_label)
    left.plot(closed, sampled.std(1), "_", color=PURPLE, label="standard deviation of one sample")
    left.set(xscale="log", yscale="log")
    left.set_xlabel("SKL, closed form (nats)", fontsize=LABEL)
    left.set_ylabel("nats", fontsize=LABEL)
    left.legend(fontsize=SMALL, frameon=False)
    middle = int((closed - 0.3).abs().argmin())
    _draw_histogram(right, float(closed[middle]), sampled[middle])
    return figure


def _draw_histogram(axes: Axes, closed: float, sampled: Tensor) -> None:
    negative = 100 * float((sampled < 0).float().mean())
    axes.hist(sampled.numpy(), bins=50, color=COLORS["estimate"], alpha=0.6)
    axes.axvline(closed, color=COLORS["truth"], label=f"closed form, {closed:.2f}")
    axes.axvline(0, color=GRAY, linestyle=":", label=f"{negative:.0f} % of the samples are negative")
    axes.set_title("single-sample estimates for one pair of Gaussians", fontsize=TITLE)
    axes.set_xlabel("SKL from one sample (nats)", fontsize=LABEL)
    axes.set_ylabel("samples", fontsize=LABEL)
    axes.legend(fontsize=SMALL, frameon=False)


def beta_schedules(schedules: Mapping[str, BetaSchedule]) -> Figure:
    """Plot beta over a run on a logarithmic axis, for schedules by name."""
    figure, grid = subplots(7, 3)
    axes = grid[0, 0]
    progress = torch.linspace(0, 1, 401).tolist()
    for style, (name, schedule) in zip(LINE_STYLES, schedules.items(), strict=False):
        values = [schedule.at(fraction) for fraction in progress]
        axes.plot([100 * p for p in progress], values, style, color=COLORS["beta"], linewidth=2, label=name)
    axes.set(yscale="log", xlim=(0, 100))
    axes.set_xlabel("training progress (%)", fontsize=LABEL)
    axes.set_ylabel("beta", fontsize=LABEL)
    axes.legend(fontsize=SMALL, frameon=False)
    return figure


def kept_information(sweeps: Mapping[str, Sweep]) -> Figure:
    """Plot how much of the shared and of the private information encoders keep against their final beta.

    Args:
        sweeps: One panel each, by title.
    """
    figure, grid = subplots(5 * len(sweeps), 3.7, 1, len(sweeps))
    labels = {"fixed": "fixed beta", "ramp": "ramp from 1e-6"}
    for axes, (title, sweep) in zip(grid[0], sweeps.items(), strict=True):
        for kind, bottlenecks in sweep.items():
            betas = [each.last_beta for each in bottlenecks]
            shared = [each.shared for each in bottlenecks]
            private = [each.private for each in bottlenecks]
            axes.plot(betas, shared, "o-", color=COLORS[kind], label=f"shared, {labels[kind]}")
            axes.plot(betas, private, "x--", color=COLORS[kind], label=f"private, {labels[kind]}")
        axes.set(xscale="log", xlabel="final beta")
        axes.set_title(title, fontsize=TITLE)
    grid[0, 0].set_ylabel("information kept (nats)", fontsize=LABEL)
    grid[0, -1].legend(fontsize=SMALL, frameon=False)
    top = max(axes.get_ylim()[1] for axes in grid[0])
    for axes in grid[0]:
        axes.set_ylim(-0.05 * top, top)
    return figure


def collapse(runs: Mapping[str, BottleneckResult], smooth: int = 15) -> Figure:
    """Plot the bound, the divergence and beta of a few runs over their steps.

    Args:
        runs: Up to four runs by name.
        smooth: Steps over which the bound and the divergence are averaged.
    """
    figure, grid = subplots(10.5, 3.4, 1, 3)
    bound, divergence, beta = grid[0]
    for color, style, (name, run) in zip((VERMILION, BLUE, GREEN, GRAY), LINE_STYLES, runs.items(), strict=False):
        bound.plot(*_running_mean(run.mi_js, smooth), style, color=color, linewidth=2)
        divergence.plot(*_running_mean(run.skl, smooth), style, color=color, linewidth=2)
        beta.plot(run.beta, style, color=color, linewidth=2, label=name)
    bound.axhline(TWO_LN2, color=GRAY, linestyle=":", linewidth=1)
    bound.annotate("maximum, 2 ln 2", (0, TWO_LN2 - 0.1), color=GRAY, fontsize=SMALL)
    divergence.set_yscale("log")
    beta.set_yscale("log")
    for axes, title in zip(grid[0], ("mi_js (nats)", "skl (nats)", "beta"), strict=True):
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel("step", fontsize=LABEL)
    figure.legend(fontsize=LABEL, frameon=False, loc="outside lower center", ncols=len(runs))
    return figure


def shortcut_bars(bounds: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the bounds that critics reach from simple cues alone, as bars.

    Args:
        bounds: Nats by cue, as `codial.evaluate.shortcuts` returns them, by the name of a view configuration.
    """
    figure, grid = subplots(7, 0.9 + 0.75 * len(bounds))
    axes = grid[0, 0]
    cues = list(next(iter(bounds.values())))
    for number, (cue, color) in enumerate(zip(cues, (ORANGE, GRAY, BLUE), strict=True)):
        positions = [row + 0.26 * (number - 1) for row in range(len(bounds))]
        values = [nats[cue] for nats in bounds.values()]
        axes.barh(positions, values, 0.24, color=color, label=f"{cue} only")
        for position, value in zip(positions, values, strict=True):
            axes.text(value + 0.01, position, f"{value:.2f}", va="center", fontsize=SMALL)
    axes.axvline(TWO_LN2, color=GRAY, linestyle=":", label="maximum, 2 ln 2")
    axes.set_yticks(range(len(bounds)), list(bounds), fontsize=SMALL)
    axes.set(xlim=(0, TWO_LN2 + 0.05), ylim=(len(bounds) - 0.5, -0.5))
    axes.set_xlabel("Jensen-Shannon bound (nats)", fontsize=LABEL)
    axes.legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _running_mean(values: Sequence[float], window: int) -> tuple[Tensor, Tensor]:
    """Return steps and means over `window` steps, each at the middle of its window."""
    means = torch.tensor(values).unfold(0, window, 1).mean(-1)
    return torch.arange(len(means)) + window // 2, means
