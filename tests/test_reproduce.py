"""The study of CIFAR-10: which runs it is made of."""

from collections import Counter

import pytest

import codial
from codial.cli import main
from codial.errors import CodialError
from codial.options import SYSTEMS
from codial.readings import READINGS
from codial.reproduce import BUDGETS, study


@pytest.mark.parametrize("budget", BUDGETS)
def test_each_run_is_planned_once_and_what_is_claimed_comes_first(budget):
    found = study(budget=budget)
    assert len({each.folder for each in found}) == len(found)
    assert "codial" in [each.config.name.split("/")[0] for each in found[:2]]
    seeds = Counter(each.config.name for each in found)
    scale = {"short": "short", "small": "cifar10", "brief": "brief", "full": "recommended"}[budget]
    for system in ("codial", "random", "rotnet", "decouple"):
        assert seeds[f"{system}/{scale}"] == 3
    assert all(each.config.data.source == "cifar10" for each in found)


def test_the_small_study_answers_every_open_question():
    names = {each.config.name for each in study()}
    assert {f"codial-{name}/cifar10" for name in READINGS} <= names
    assert {"codial-split/cifar10", "codial-decoupled/cifar10", "codial-cls/cifar10", "codial-mi/cifar10"} <= names


def test_the_short_study_has_every_system_on_as_many_views():
    found = [each.config for each in study(budget="short")]
    assert {config.objective.system for config in found} == set(SYSTEMS)
    ours = codial.preset("codial/cifar10").train.epochs / codial.preset("codial/short").train.epochs
    for config in found:
        long = codial.preset(config.name.replace("short", "cifar10")).train.epochs
        assert abs(long / ours - config.train.epochs) < 1  # whole epochs


@pytest.mark.parametrize("budget", ["brief", "full"])
def test_a_gpus_study_is_at_full_width_on_all_pictures(budget):
    for each in study(budget=budget):
        assert (each.config.model.width, each.config.data.limit) == (1.0, None)


@pytest.mark.parametrize(
    ("data", "budget", "said"),
    [
        ("stl10", "small", "There is no study of 'stl10'"),
        ("cifar10", "tiny", "budget is 'tiny'; expected one of short, small, brief, full"),
    ],
)
def test_what_there_is_no_study_of_is_told(data, budget, said):
    with pytest.raises(CodialError, match=said):
        study(data, budget)


def test_the_command_lists_the_runs(capsys):
    assert main(["reproduce", "cifar10", "--budget", "full", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "codial/recommended, seed 0: runs/recommended/codial"
    assert len(lines) == len(study(budget="full"))


def test_the_command_tells_mistakes(capsys):
    assert main(["reproduce", "cifar100"]) == 2
    assert "There is no study of 'cifar100'" in capsys.readouterr().err
