"""What the curves of a run mean, in words: healthy, saturated, guessing or collapsing.

The bounds were set by the histories in `results/`: of those runs, the ones that went well stay clear of all of them.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from codial.config import CodialOptions, Config
from codial.information import TWO_LN2

EARLY = 0.15  # part of a run in which nothing can be said of its tasks yet
_LAST = 3  # lines of history whose mean is "now"

Lines = Sequence[Mapping[str, Any]]


def verdict(lines: Lines, config: Config) -> list[str]:
    """Return what a history says of its run, in sentences that open with their verdict and a colon.

    "Collapsed", "Collapsing", "Falling", "Saturated", "Guessing" and "Worse than random" each tell of one thing that
    should be looked at; without any there is one sentence, that opens with "Healthy", "Too early" or "Untrained".

    Args:
        lines: of history, of both kinds, in order; there may be none yet.
        config: of the run.
    """
    found = [*_of_features(lines), *_of_the_bound(lines, config), *_of_the_task(lines, config), *_of_use(lines, config)]
    if found:
        return found
    if config.train.epochs == 0:
        return ["Untrained: these are random weights."]
    if not lines:
        return ["Too early: there is no history yet."]
    if _progress(lines, config) < EARLY:
        over = 100 * _progress(lines, config)
        return [f"Too early: {over:.0f} % of the run is over; from {100 * EARLY:.0f} % on more can be said."]
    return ["Healthy: " + "; ".join(_facts(lines, config)) + "."]


def chance(lines: Lines, config: Config) -> float | None:
    """Return how often a guess names the pretext's class, in [0, 1]; None where classes are many or not fixed."""
    matrices = values(lines, "confusion")
    if matrices:
        return 1 / len(matrices[-1]["classes"])
    return 1 / len(config.views.primary) if values(lines, "loss_transform") else None


def values(lines: Lines, name: str) -> list[Any]:
    """Return a term's values in their order."""
    return [line[name] for line in lines if name in line]


def _now(found: Sequence[float]) -> float:
    return fmean(found[-_LAST:])


def _progress(lines: Lines, config: Config) -> float:
    return lines[-1]["epoch"] / max(1, config.train.epochs)


def _of_features(lines: Lines) -> list[str]:
    """Judge by the last monitors, each of which is one measurement; a run's first are those of random weights."""
    spread, rank = values(lines, "feature_std"), values(lines, "rankme")
    if len(spread) < 2 or len(rank) < 2:
        return []
    if spread[-1] < 0.05:
        return [f"Collapsed: all pictures get nearly the same feature (feature_std {spread[-1]:.2f} of 1)."]
    if spread[-1] < max(spread) / 2:
        return [f"Collapsing: the features of different pictures draw together (feature_std {_fall(spread)})."]
    if rank[-1] < 0.12 * rank[0]:
        return [
            f"Collapsing: features keep to few directions (rankme {rank[-1]:.0f}, at random weights {rank[0]:.0f})."
        ]
    return []


def _of_the_bound(lines: Lines, config: Config) -> list[str]:
    bound = values(lines, "mi_js")
    if not bound or not isinstance(config.objective, CodialOptions):
        return []
    now, highest = _now(bound), max(_now(bound[max(0, end - _LAST) : end]) for end in range(1, len(bound) + 1))
    if now > 0.95 * TWO_LN2:
        why = "the critic tells every pair, and nothing is left to learn from it"
        return [f"Saturated: mi_js is {now:.2f} of at most 2 ln 2 = {TWO_LN2:.2f} nats; {why}."]
    if highest > 0.1 and now < 0.05:
        return [f"Collapsed: the code tells views apart no more (mi_js {_fall(bound)} nats); lower objective.beta_end."]
    if now < highest / 2 and highest > 0.1:
        return [f"Falling: beta presses out what views share (mi_js {_fall(bound)} nats); lower objective.beta_end."]
    if highest <= 0.02 and _progress(lines, config) >= EARLY:
        return [f"Guessing: the critic has found nothing yet that views share (mi_js {now:.2f} nats)."]
    return []


def _of_the_task(lines: Lines, config: Config) -> list[str]:
    right, guess = _answers(lines, config), chance(lines, config)
    if not right or config.objective.system == "supervised":  # whose task is the goal itself
        return []
    now = _now(right)
    if now > 0.97:
        return [f"Saturated: the pretext task is solved ({100 * now:.0f} % right) and teaches no more; make it harder."]
    if guess is not None and now < guess + 0.03 and _progress(lines, config) >= EARLY:
        said = f"{100 * now:.0f} % right, a guess {100 * guess:.0f} %"
        return [f"Guessing: the pretext task is not learnt ({said}); give it more epochs, or a higher train.lr."]
    return []


def _answers(lines: Lines, config: Config) -> list[float]:
    """Return the pretext's accuracies; none where nothing learns the task."""
    return [] if getattr(config.objective, "cls_weight", 1) == 0 else values(lines, "pretext_accuracy")


def _of_use(lines: Lines, config: Config) -> list[str]:
    """Judge by both accuracies at once: one of them alone wavers by some points."""
    if not lines or _progress(lines, config) < EARLY:
        return []
    both = [found for name in ("knn", "probe") if len(found := values(lines, name)) > 1]
    if len(both) < 2 or any(found[-1] > found[0] - 2 for found in both):
        return []
    said = " and ".join(f"{name} {f[0]:.0f} % -> {f[-1]:.0f} %" for name, f in zip(("knn", "probe"), both, strict=True))
    return [f"Worse than random: training unlearns what random weights had ({said})."]


def _fall(found: Sequence[float]) -> str:
    return f"{max(found):.2f} -> {found[-1]:.2f}"


def _facts(lines: Lines, config: Config) -> list[str]:
    """Say what a healthy run has come to."""
    said = []
    if spread := values(lines, "feature_std"):
        said.append(f"pictures get different features (feature_std {spread[-1]:.2f} of 1)")
    if bound := values(lines, "mi_js"):
        said.append(f"views share {_now(bound):.2f} of at most {TWO_LN2:.2f} nats (mi_js)")
    if right := _answers(lines, config):
        guess = chance(lines, config)
        against = "" if guess is None else f", a guess {100 * guess:.0f} %"
        said.append(f"the pretext task is {100 * _now(right):.0f} % right{against}")
    if len(probes := values(lines, "probe")) > 1:
        said.append(f"the quick probe went from {probes[0]:.0f} % to {probes[-1]:.0f} %")
    return said or ["nothing speaks against it"]
