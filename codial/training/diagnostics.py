"""Diagnosis of a run from its history: healthy, saturated, at chance level or collapsing.

The thresholds were set with the histories in `results/`: none of the good runs there is near any of them.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from codial.config import Config
from codial.methods.codial import CodialConfig
from codial.models.collapse import is_collapsed

EARLY = 0.15  # fraction of a run before which the pretext task is not diagnosed
_RECENT = 3  # lines of the history whose mean is the current value

Lines = Sequence[Mapping[str, Any]]


def diagnose(lines: Lines, config: Config) -> list[str]:
    """Return the problems of a run as sentences, each after a keyword and a colon.

    "Collapsed", "Collapsing", "Falling", "Saturated", "Chance level" and "Worse than random" are problems; without any
    there is one sentence with "Healthy", "Too early" or "Untrained".

    Args:
        lines: lines of the history in order, of both kinds; may be empty.
        config: config of the run.
    """
    problems = [
        *_diagnose_features(lines),
        *_diagnose_bound(lines, config),
        *_diagnose_task(lines, config),
        *_diagnose_accuracy(lines, config),
    ]
    if problems:
        return problems
    if config.train.epochs == 0:
        return ["Untrained: the weights are random."]
    if not lines:
        return ["Too early: there is no history yet."]
    if _progress(lines, config) < EARLY:
        percent = 100 * _progress(lines, config)
        return [f"Too early: {percent:.0f} % of the run is done; a diagnosis needs {100 * EARLY:.0f} %."]
    return ["Healthy: " + "; ".join(_summary(lines, config)) + "."]


def chance(lines: Lines, config: Config) -> float | None:
    """Return the pretext accuracy of random predictions in [0, 1]; None for tasks without fixed classes."""
    matrices = values(lines, "confusion")
    if matrices:
        return 1 / len(matrices[-1]["classes"])
    return 1 / len(config.views.transforms) if values(lines, "loss_transform") else None


def ceiling_text(config: Config) -> str:
    """Return the largest value of the bound of a run that aligns views as a formula; empty if there is none."""
    if not isinstance(config.method, CodialConfig) or math.isinf(config.method.ceiling(config)):
        return ""
    return "2 ln 2" if config.method.bound == "js" else f"ln {round(math.exp(config.method.ceiling(config)))}"


def values(lines: Lines, name: str) -> list[Any]:
    """Return the values of a term in order."""
    return [line[name] for line in lines if name in line]


def _recent(series: Sequence[float]) -> float:
    return fmean(series[-_RECENT:])


def _progress(lines: Lines, config: Config) -> float:
    return lines[-1]["epoch"] / max(1, config.train.epochs)


def _diagnose_features(lines: Lines) -> list[str]:
    """Compare the last monitors with the first, which are those of random weights."""
    std, rank = values(lines, "feature_std"), values(lines, "rankme")
    if len(std) < 2 or len(rank) < 2:
        return []
    if is_collapsed(std[-1]):
        return [f"Collapsed: all images have nearly the same feature (feature_std {std[-1]:.2f} of 1)."]
    if std[-1] < max(std) / 2:
        return [f"Collapsing: features of different images become more similar (feature_std {_fall(std)})."]
    if rank[-1] < 0.12 * rank[0]:
        return [
            f"Collapsing: features vary in few dimensions (rankme {rank[-1]:.0f}, {rank[0]:.0f} for random weights)."
        ]
    return []


def _diagnose_bound(lines: Lines, config: Config) -> list[str]:
    method = config.method
    bound = values(lines, method.mi_term) if isinstance(method, CodialConfig) else []
    if not bound or not isinstance(method, CodialConfig):
        return []
    name, ceiling = method.mi_term, method.ceiling(config)
    advice = "lower method.beta_end" if method.bottleneck else "lower train.lr"
    now = _recent(bound)
    highest = max(_recent(bound[max(0, end - _RECENT) : end]) for end in range(1, len(bound) + 1))
    if now > 0.95 * ceiling:
        reason = "the critic recognizes every pair, so that alignment teaches nothing more"
        return [f"Saturated: {name} is {now:.2f} of at most {ceiling_text(config)} = {ceiling:.2f} nats; {reason}."]
    if highest > 0.1 and now < 0.05:
        return [f"Collapsed: views share no information any more ({name} {_fall(bound)} nats); {advice}."]
    if now < highest / 2 and highest > 0.1:
        cause = "beta removes information that views share" if method.bottleneck else "views share less information"
        return [f"Falling: {cause} ({name} {_fall(bound)} nats); {advice}."]
    if highest <= 0.02 and _progress(lines, config) >= EARLY:
        return [f"Chance level: the critic does not recognize views of the same image ({name} {now:.2f} nats)."]
    return []


def _diagnose_task(lines: Lines, config: Config) -> list[str]:
    accuracies, random = _pretext_accuracies(lines, config), chance(lines, config)
    if not accuracies or config.method.name == "supervised":  # whose task is the goal itself
        return []
    now = _recent(accuracies)
    if now > 0.97:
        return [f"Saturated: the pretext task is solved ({100 * now:.0f} % accuracy); make it harder."]
    if random is not None and now < random + 0.03 and _progress(lines, config) >= EARLY:
        numbers = f"{100 * now:.0f} % accuracy, chance {100 * random:.0f} %"
        return [f"Chance level: the pretext task is not learned ({numbers}); use more epochs or a higher train.lr."]
    return []


def _pretext_accuracies(lines: Lines, config: Config) -> list[float]:
    """Return the accuracies of the pretext task; empty if its weight is 0."""
    return [] if getattr(config.method, "cls_weight", 1) == 0 else values(lines, "pretext_accuracy")


def _diagnose_accuracy(lines: Lines, config: Config) -> list[str]:
    """Compare knn and probe with random weights; both must have fallen, since each varies by some percent."""
    if not lines or _progress(lines, config) < EARLY:
        return []
    series = {name: values(lines, name) for name in ("knn", "probe")}
    if any(len(s) < 2 or s[-1] > s[0] - 2 for s in series.values()):
        return []
    falls = " and ".join(f"{name} {s[0]:.0f} % -> {s[-1]:.0f} %" for name, s in series.items())
    return [f"Worse than random: the features are worse than those of random weights ({falls})."]


def _fall(series: Sequence[float]) -> str:
    return f"{max(series):.2f} -> {series[-1]:.2f}"


def _summary(lines: Lines, config: Config) -> list[str]:
    """Return the current values of a healthy run in words."""
    parts = []
    if std := values(lines, "feature_std"):
        parts.append(f"features differ between images (feature_std {std[-1]:.2f} of 1)")
    if isinstance(config.method, CodialConfig) and (bound := values(lines, config.method.mi_term)):
        ceiling = config.method.ceiling(config)
        most = "" if math.isinf(ceiling) else f" of at most {ceiling:.2f}"
        parts.append(f"views share {_recent(bound):.2f}{most} nats ({config.method.mi_term})")
    if accuracies := _pretext_accuracies(lines, config):
        random = chance(lines, config)
        comparison = "" if random is None else f", chance {100 * random:.0f} %"
        parts.append(f"pretext accuracy is {100 * _recent(accuracies):.0f} %{comparison}")
    if len(probes := values(lines, "probe")) > 1:
        parts.append(f"probe accuracy went from {probes[0]:.0f} % to {probes[-1]:.0f} %")
    return parts or ["no problem was detected"]
