import time
from dataclasses import replace
from pathlib import Path

import pytest

import codial
from codial.config import CodialOptions, Config, TrainConfig
from codial.verdicts import chance, verdict

RESULTS = Path(__file__).resolve().parents[1] / "results"
CONFIG = Config(train=TrainConfig(epochs=10))
STEPS = 20  # an epoch


def run(epochs=10, **terms):
    """History of a healthy run, but for some terms: functions of the part of the run, None to leave one out."""
    healthy = {
        "feature_std": lambda part: 0.3 + 0.4 * min(1, 3 * part),
        "rankme": lambda part: 200 - 100 * part,
        "knn": lambda part: 70 + 5 * part,
        "probe": lambda part: 80 + 10 * part,
        "mi_js": lambda part: 0.8 * part,
        "pretext_accuracy": lambda part: 0.2 + 0.3 * part,
        "loss_transform": lambda part: 1.6 - part,
    } | terms
    measured = ("feature_std", "rankme", "knn", "probe")
    lines = []
    for epoch in range(epochs + 1):
        place = {"step": epoch * STEPS, "epoch": float(epoch)}
        found = {name: term(epoch / 10) for name, term in healthy.items() if term is not None}
        if epoch:
            trained = {name: value for name, value in found.items() if name not in measured}
            lines.append({"kind": "train"} | place | trained)
        lines.append({"kind": "monitor"} | place | {name: value for name, value in found.items() if name in measured})
    return lines


def kinds(lines, config=CONFIG):
    return [sentence.partition(":")[0] for sentence in verdict(lines, config)]


def rising_then(value, at=0.6, height=0.8):
    return lambda part: height * part if part < at else value


def test_a_healthy_run_is_told_in_one_sentence_with_its_numbers():
    (said,) = verdict(run(), CONFIG)
    assert said.startswith("Healthy: ")
    for words in ("feature_std 0.70 of 1", "0.72 of at most 1.39 nats", "47 % right, a guess 20 %", "80 % to 90 %"):
        assert words in said


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"feature_std": lambda part: 0.3 * (1 - part)}, ["Collapsed"]),
        ({"feature_std": rising_then(0.15)}, ["Collapsing"]),
        ({"rankme": lambda part: 200 - 180 * part}, ["Collapsing"]),
        ({"mi_js": rising_then(0.0)}, ["Collapsed"]),
        ({"mi_js": rising_then(0.15)}, ["Falling"]),
        ({"mi_js": lambda part: 0.001}, ["Guessing"]),
        ({"mi_js": lambda part: min(1.38, 3 * part)}, ["Saturated"]),
        ({"pretext_accuracy": lambda part: min(0.99, 0.2 + 2 * part)}, ["Saturated"]),
        ({"pretext_accuracy": lambda part: 0.21}, ["Guessing"]),
        ({"knn": lambda part: 70 - 20 * part, "probe": lambda part: 80 - 5 * part}, ["Worse than random"]),
        ({"knn": lambda part: 70 - 20 * part}, ["Healthy"]),  # one of the two alone wavers
        ({"mi_js": rising_then(0.0), "pretext_accuracy": lambda part: 0.2}, ["Collapsed", "Guessing"]),
    ],
)
def test_each_trouble_has_its_word(terms, expected):
    assert kinds(run(**terms)) == expected


def test_what_is_told_of_a_trouble_says_the_numbers_and_what_to_do():
    (said,) = verdict(run(mi_js=rising_then(0.0)), CONFIG)
    assert said.endswith("(mi_js 0.40 -> 0.00 nats); lower objective.beta_end.")


def test_it_is_too_early_before_anything_can_be_learnt():
    assert kinds([]) == ["Too early"]
    assert kinds(run(0)) == ["Too early"]
    assert kinds(run(1, mi_js=lambda part: 0.0, pretext_accuracy=lambda part: 0.2)) == ["Too early"]
    assert kinds(run(2, mi_js=lambda part: 0.0)) == ["Guessing"]
    assert kinds(run(1, feature_std=lambda part: 0.3 - 3 * part)) == ["Collapsed"]  # that is not


def test_random_weights_are_not_judged():
    assert kinds(run(0), replace(CONFIG, train=TrainConfig(epochs=0))) == ["Untrained"]


def test_a_task_that_nothing_learns_is_not_judged():
    config = replace(CONFIG, objective=CodialOptions(cls_weight=0.0))
    (said,) = verdict(run(pretext_accuracy=lambda part: 0.2), config)
    assert said.startswith("Healthy")
    assert "pretext" not in said


def test_a_guess_is_right_as_often_as_there_are_classes():
    lines = run()
    assert chance(lines, CONFIG) == 1 / 5
    lines[-1]["confusion"] = {"classes": ["real", "repaired"], "counts": [[3, 1], [2, 2]]}
    assert chance(lines, CONFIG) == 1 / 2
    assert chance(run(loss_transform=None), CONFIG) is None


def test_the_published_runs_are_judged_as_they_are_described():
    """Of all published runs few are not healthy: beta pressed too hard or too soon, and SpotArtifacts."""
    told = {
        f"{found.folder.parent.name}/{found.folder.name}": kinds(found.history, found.config)
        for found in codial.runs.list_runs(RESULTS)
        if found.history  # exported weights have none
    }
    ill = {name: words for name, words in told.items() if words not in (["Healthy"], ["Untrained"])}
    assert ill == {
        "cifar10/codial-beta1": ["Falling"],
        "cifar10/codial-early1": ["Collapsed"],
        "cifar10/spotartifacts": ["Worse than random"],
        "short/codial-mi": ["Collapsing"],
        "short/spotartifacts": ["Worse than random"],
    }
    assert all(words == ["Untrained"] for name, words in told.items() if name.endswith("/random"))


def test_a_long_history_is_judged_at_once(tiny_run):
    """Judging costs time by the line, not by its square: a live panel does it again and again."""
    lines = run() * 3000
    began = time.perf_counter()
    verdict(lines, CONFIG)
    assert time.perf_counter() - began < 3
    assert verdict(tiny_run.history, tiny_run.config)
