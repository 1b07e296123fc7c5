"""Mutual information and its bottleneck in pictures. Information is in nats."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from codial.config import CodialOptions
from codial.information import TWO_LN2, beta_at
from codial.plots.style import BLUE, COLOURS, GREEN, GREY, LABEL, ORANGE, PURPLE, SMALL, TITLE, VERMILION, subplots
from codial.toys import Bottleneck, Divergences, Estimates


def bound_and_truth(found: Mapping[int, Estimates], best: Mapping[int, tuple[Sequence[float], Tensor]]) -> Figure:
    """Show what critics found against the true information: their bound, and their mean score.

    Args:
        found: by the number of coordinates of each Gaussian.
        best: likewise the best critic's curve, true values and bounds.
    """
    figure, axes = subplots(2.65 * (len(found) + 1), 3.1, 1, len(found) + 1)
    for place, (dims, estimates) in zip(axes[0], found.items(), strict=False):
        _draw_bound(place, estimates, *best[dims])
        place.set_title(f"{dims} coordinate{'s' * (dims > 1)}", fontsize=TITLE)
    axes[0, 0].set_ylabel("Jensen-Shannon bound (nats)", fontsize=LABEL)
    axes[0, 0].legend(fontsize=SMALL, loc="lower right", frameon=False)
    _draw_scores(axes[0, -1], found)
    for place in axes[0]:
        place.set_xlabel("true information (nats)", fontsize=LABEL)
    return figure


def _draw_bound(axes: Axes, found: Estimates, information: Sequence[float], best: Tensor) -> None:
    axes.axhline(TWO_LN2, color=GREY, linestyle=":", label="ceiling, 2 ln 2")
    axes.plot(information, best, color=COLOURS["truth"], label="best critic")
    axes.plot(found.information, found.bound, "o", color=COLOURS["estimate"], label="trained critic")
    axes.set_ylim(-0.05, TWO_LN2 + 0.1)


def _draw_scores(axes: Axes, found: Mapping[int, Estimates]) -> None:
    most = max(float(estimates.information.max()) for estimates in found.values())
    axes.plot([0, most], [0, most], color=COLOURS["truth"], label="best critic")
    for marker, (dims, estimates) in zip("os^Dv", found.items(), strict=False):
        words = f"{dims} coordinate{'s' * (dims > 1)}"
        axes.plot(estimates.information, estimates.score, marker, color=COLOURS["estimate"], label=words)
    axes.set_title("mean score of joint pairs", fontsize=TITLE)
    axes.set_ylabel("nats", fontsize=LABEL)
    axes.legend(fontsize=SMALL, loc="upper left", frameon=False)


def closed_and_sampled(found: Divergences) -> Figure:
    """Show the divergence from single draws against the closed form: its mean, its spread, and one pair's draws."""
    figure, axes = subplots(10, 3.5, 1, 2)
    order = found.closed.argsort()
    closed, sampled = found.closed[order], found.sampled[order]
    left, right = axes[0]
    left.plot(closed, closed, color=COLOURS["truth"], label="closed form")
    mean_of = f"mean of {sampled.shape[1]:,} draws"
    left.plot(closed, sampled.mean(1), "o", markersize=4, color=COLOURS["estimate"], label=mean_of)
    left.plot(closed, sampled.std(1), "_", color=PURPLE, label="standard deviation of one draw")
    left.set(xscale="log", yscale="log")
    left.set_xlabel("SKL, closed form (nats)", fontsize=LABEL)
    left.set_ylabel("nats", fontsize=LABEL)
    left.legend(fontsize=SMALL, frameon=False)
    middle = int((closed - 0.3).abs().argmin())
    _draw_one_pair(right, float(closed[middle]), sampled[middle])
    return figure


def _draw_one_pair(axes: Axes, closed: float, sampled: Tensor) -> None:
    below = 100 * float((sampled < 0).float().mean())
    axes.hist(sampled.numpy(), bins=50, color=COLOURS["estimate"], alpha=0.6)
    axes.axvline(closed, color=COLOURS["truth"], label=f"closed form, {closed:.2f}")
    axes.axvline(0, color=GREY, linestyle=":", label=f"{below:.0f} % of the draws are below 0")
    axes.set_title("one pair of Gaussians, many single draws", fontsize=TITLE)
    axes.set_xlabel("SKL from one draw (nats)", fontsize=LABEL)
    axes.set_ylabel("draws", fontsize=LABEL)
    axes.legend(fontsize=SMALL, frameon=False)


STYLES = ("-", "--", ":", "-.")


def beta_schedules(schedules: Mapping[str, CodialOptions]) -> Figure:
    """Show how beta rises over a run, on a logarithmic axis, for schedules by name."""
    figure, axes = subplots(7, 3)
    progress = torch.linspace(0, 1, 401).tolist()
    for style, (name, schedule) in zip(STYLES, schedules.items(), strict=False):
        values = [beta_at(part, schedule) for part in progress]
        axes[0, 0].plot([100 * p for p in progress], values, style, color=COLOURS["beta"], linewidth=2, label=name)
    axes[0, 0].set(yscale="log", xlim=(0, 100))
    axes[0, 0].set_xlabel("part of the run (%)", fontsize=LABEL)
    axes[0, 0].set_ylabel("beta", fontsize=LABEL)
    axes[0, 0].legend(fontsize=SMALL, frameon=False)
    return figure


Sweep = Mapping[str, Sequence[Bottleneck]]  # "fixed" and "ramp": one bottleneck for each last value of beta


def kept_information(sweeps: Mapping[str, Sweep]) -> Figure:
    """Show what encoders kept of the shared and of the private part against the beta that they ended with.

    Args:
        sweeps: one panel each, by title.
    """
    figure, axes = subplots(5 * len(sweeps), 3.7, 1, len(sweeps))
    names = {"fixed": "fixed from the start", "ramp": "ramp from 1e-6"}
    for place, (title, sweep) in zip(axes[0], sweeps.items(), strict=True):
        for kind, found in sweep.items():
            betas = [each.last_beta for each in found]
            shared, private = [each.shared for each in found], [each.private for each in found]
            place.plot(betas, shared, "o-", color=COLOURS[kind], label=f"shared, {names[kind]}")
            place.plot(betas, private, "x--", color=COLOURS[kind], label=f"private, {names[kind]}")
        place.set(xscale="log", xlabel="beta at the end")
        place.set_title(title, fontsize=TITLE)
    axes[0, 0].set_ylabel("information kept (nats)", fontsize=LABEL)
    axes[0, -1].legend(fontsize=SMALL, frameon=False)
    most = max(place.get_ylim()[1] for place in axes[0])
    for place in axes[0]:
        place.set_ylim(-0.05 * most, most)
    return figure


def collapse(runs: Mapping[str, Bottleneck], smooth: int = 15) -> Figure:
    """Show the bound, the divergence and beta of a few runs, by name, as they went on.

    Args:
        runs: up to four.
        smooth: steps over which the bound and the divergence are averaged.
    """
    figure, axes = subplots(10.5, 3.4, 1, 3)
    bound, divergence, beta = axes[0]
    for colour, style, (name, run) in zip((VERMILION, BLUE, GREEN, GREY), STYLES, runs.items(), strict=False):
        bound.plot(*_running_mean(run.mi_js, smooth), style, color=colour, linewidth=2)
        divergence.plot(*_running_mean(run.skl, smooth), style, color=colour, linewidth=2)
        beta.plot(run.beta, style, color=colour, linewidth=2, label=name)
    bound.axhline(TWO_LN2, color=GREY, linestyle=":", linewidth=1)
    bound.annotate("ceiling, 2 ln 2", (0, TWO_LN2 - 0.1), color=GREY, fontsize=SMALL)
    divergence.set_yscale("log")
    beta.set_yscale("log")
    for place, title in zip(axes[0], ("mi_js (nats)", "skl (nats)", "beta"), strict=True):
        place.set_title(title, fontsize=TITLE)
        place.set_xlabel("step", fontsize=LABEL)
    figure.legend(fontsize=LABEL, frameon=False, loc="outside lower center", ncols=len(runs))
    return figure


def shortcut_bars(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Show the bound that simple cues alone give, as bars up to its ceiling.

    Args:
        found: by a name for how views are drawn, nats by cue, as `codial.shortcuts`.
    """
    figure, axes = subplots(7, 0.9 + 0.75 * len(found))
    cues = list(next(iter(found.values())))
    for number, (cue, colour) in enumerate(zip(cues, (ORANGE, GREY, BLUE), strict=True)):
        places = [row + 0.26 * (number - 1) for row in range(len(found))]
        values = [nats[cue] for nats in found.values()]
        axes[0, 0].barh(places, values, 0.24, color=colour, label=f"{cue} alone")
        for place, value in zip(places, values, strict=True):
            axes[0, 0].text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=SMALL)
    axes[0, 0].axvline(TWO_LN2, color=GREY, linestyle=":", label="ceiling, 2 ln 2")
    axes[0, 0].set_yticks(range(len(found)), list(found), fontsize=SMALL)
    axes[0, 0].set(xlim=(0, TWO_LN2 + 0.05), ylim=(len(found) - 0.5, -0.5))
    axes[0, 0].set_xlabel("Jensen-Shannon bound (nats)", fontsize=LABEL)
    axes[0, 0].legend(fontsize=SMALL, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _running_mean(values: Sequence[float], window: int) -> tuple[Tensor, Tensor]:
    """Return steps and means over `window` steps, each at its window's middle."""
    means = torch.tensor(values).unfold(0, window, 1).mean(-1)
    return torch.arange(len(means)) + window // 2, means
