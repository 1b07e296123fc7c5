import time
from dataclasses import replace
from pathlib import Path

import pytest

import codial
from codial.config import Config, TrainConfig
from codial.methods.codial import CodialConfig
from codial.training.diagnostics import chance, diagnose

RESULTS = Path(__file__).resolve().parents[2] / "results"
CONFIG = Config(train=TrainConfig(epochs=10))
STEPS = 20  # an epoch


def run(epochs=10, **terms):
    """Return the history of a healthy run, with some terms replaced by functions of the progress or None."""
    healthy = {
        "feature_std": lambda t: 0.3 + 0.4 * min(1, 3 * t),
        "rankme": lambda t: 200 - 100 * t,
        "knn": lambda t: 70 + 5 * t,
        "probe": lambda t: 80 + 10 * t,
        "mi_js": lambda t: 0.8 * t,
        "pretext_accuracy": lambda t: 0.2 + 0.3 * t,
        "loss_transform": lambda t: 1.6 - t,
    } | terms
    measured = ("feature_std", "rankme", "knn", "probe")
    lines = []
    for epoch in range(epochs + 1):
        position = {"step": epoch * STEPS, "epoch": float(epoch)}
        terms = {name: term(epoch / 10) for name, term in healthy.items() if term is not None}
        if epoch:
            trained = {name: value for name, value in terms.items() if name not in measured}
            lines.append({"kind": "train"} | position | trained)
        lines.append(
            {"kind": "monitor"} | position | {name: value for name, value in terms.items() if name in measured}
        )
    return lines


def kinds(lines, config=CONFIG):
    return [sentence.partition(":")[0] for sentence in diagnose(lines, config)]


def rising_then(value, at=0.6, height=0.8):
    return lambda t: height * t if t < at else value


def test_a_healthy_run_has_one_sentence_with_its_numbers():
    (sentence,) = diagnose(run(), CONFIG)
    assert sentence.startswith("Healthy: ")
    for words in ("feature_std 0.70 of 1", "0.72 of at most 1.39 nats", "47 %, chance 20 %", "80 % to 90 %"):
        assert words in sentence


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"feature_std": lambda t: 0.3 * (1 - t)}, ["Collapsed"]),
        ({"feature_std": rising_then(0.15)}, ["Collapsing"]),
        ({"rankme": lambda t: 200 - 180 * t}, ["Collapsing"]),
        ({"mi_js": rising_then(0.0)}, ["Collapsed"]),
        ({"mi_js": rising_then(0.15)}, ["Falling"]),
        ({"mi_js": lambda t: 0.001}, ["Chance level"]),
        ({"mi_js": lambda t: min(1.38, 3 * t)}, ["Saturated"]),
        ({"pretext_accuracy": lambda t: min(0.99, 0.2 + 2 * t)}, ["Saturated"]),
        ({"pretext_accuracy": lambda t: 0.21}, ["Chance level"]),
        ({"knn": lambda t: 70 - 20 * t, "probe": lambda t: 80 - 5 * t}, ["Worse than random"]),
        ({"knn": lambda t: 70 - 20 * t}, ["Healthy"]),  # one of the two alone wavers
        ({"mi_js": rising_then(0.0), "pretext_accuracy": lambda t: 0.2}, ["Collapsed", "Chance level"]),
    ],
)
def test_each_problem_has_its_keyword(terms, expected):
    assert kinds(run(**terms)) == expected


def test_a_problem_has_its_numbers_and_a_hint():
    (sentence,) = diagnose(run(mi_js=rising_then(0.0)), CONFIG)
    assert sentence.endswith("(mi_js 0.40 -> 0.00 nats); lower method.beta_end.")


def test_the_task_is_not_diagnosed_at_the_beginning():
    assert kinds([]) == ["Too early"]
    assert kinds(run(0)) == ["Too early"]
    assert kinds(run(1, mi_js=lambda t: 0.0, pretext_accuracy=lambda t: 0.2)) == ["Too early"]
    assert kinds(run(2, mi_js=lambda t: 0.0)) == ["Chance level"]
    assert kinds(run(1, feature_std=lambda t: 0.3 - 3 * t)) == ["Collapsed"]


def test_random_weights_are_not_diagnosed():
    assert kinds(run(0), replace(CONFIG, train=TrainConfig(epochs=0))) == ["Untrained"]


def test_a_task_with_weight_0_is_not_diagnosed():
    config = replace(CONFIG, method=CodialConfig(cls_weight=0.0))
    (sentence,) = diagnose(run(pretext_accuracy=lambda t: 0.2), config)
    assert sentence.startswith("Healthy")
    assert "pretext" not in sentence


def test_chance_is_one_over_the_number_of_classes():
    lines = run()
    assert chance(lines, CONFIG) == 1 / 5
    lines[-1]["confusion"] = {"classes": ["real", "repaired"], "counts": [[3, 1], [2, 2]]}
    assert chance(lines, CONFIG) == 1 / 2
    assert chance(run(loss_transform=None), CONFIG) is None


def test_diagnoses_of_published_runs():
    """Few have problems: those with a high or early beta, SpotArtifacts, and BYOL after few steps."""
    diagnoses = {
        f"{run.folder.parent.name}/{run.folder.name}": kinds(run.history, run.config)
        for run in codial.runs.run.list_runs(RESULTS)
        if run.history  # exported weights have none
    }
    problems = {name: words for name, words in diagnoses.items() if words not in (["Healthy"], ["Untrained"])}
    assert problems == {
        "cifar10/codial-beta1": ["Falling"],
        "cifar10/codial-early1": ["Collapsed"],
        "cifar10/spotartifacts": ["Worse than random"],
        "short/byol": ["Worse than random"],
        "short/codial-mi": ["Collapsing"],
        "short/spotartifacts": ["Worse than random"],
    }
    assert all(words == ["Untrained"] for name, words in diagnoses.items() if name.endswith("/random"))


def test_a_long_history_is_diagnosed_in_linear_time(tiny_run):
    """A live panel does it repeatedly."""
    lines = run() * 3000
    began = time.perf_counter()
    diagnose(lines, CONFIG)
    assert time.perf_counter() - began < 3
    assert diagnose(tiny_run.history, tiny_run.config)


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ({"bound": "infonce", "negatives": "batch"}, 5.7, "mi_infonce is 5.70 of at most ln 316 = 5.76 nats"),
        ({"bound": "infonce"}, 0.69, "mi_infonce is 0.69 of at most ln 2 = 0.69 nats"),
        ({"bound": "dv"}, 9.0, "views share 9.00 nats (mi_dv)"),
        ({"bound": "infonce", "negatives": "batch"}, 1.5, "views share 1.50 of at most 5.76 nats (mi_infonce)"),
    ],
)
def test_other_bounds_are_compared_with_their_own_ceiling(options, value, expected):
    """64 images of 5 views: 315 negatives."""
    config = replace(CONFIG, method=CodialConfig(**options))
    (sentence,) = diagnose(run(mi_js=None, **{f"mi_{options['bound']}": lambda t: value}), config)
    assert expected in sentence
    assert sentence.startswith("Saturated: " if "is" in expected.split() else "Healthy: ")


def test_without_a_bottleneck_beta_is_not_blamed():
    config = replace(CONFIG, method=CodialConfig(bottleneck=False))
    (sentence,) = diagnose(run(mi_js=rising_then(0.15)), config)
    assert sentence.startswith("Falling: views share less information")
    assert sentence.endswith("lower train.lr.")
