"""The runs of the CIFAR-10 study."""

from collections import Counter

import pytest

import codial
from codial.config.registry import method_names
from codial.errors import CodialError
from codial.experiments.reproduce import BUDGETS, study
from codial.methods.codial import Codial


@pytest.mark.parametrize("budget", BUDGETS)
def test_each_run_is_planned_once_and_codial_comes_first(budget):
    found = study(budget=budget)
    assert len({each.folder for each in found}) == len(found)
    assert "codial" in [each.config.name.split("/")[0] for each in found[:2]]
    seeds = Counter(each.config.name for each in found)
    recipe = {"short": "short", "small": "cifar10", "brief": "brief", "full": "recommended"}[budget]
    for method in ("codial", "random", "rotnet", "decouple"):
        assert seeds[f"{method}/{recipe}"] == 3
    assert all(each.config.data.source == "cifar10" for each in found)


def test_small_study_has_all_variants():
    names = {each.config.name for each in study()}
    assert {f"codial-{name}/cifar10" for name, variant in Codial.variants.items() if variant.question} <= names
    assert {"codial-split/cifar10", "codial-decoupled/cifar10", "codial-cls/cifar10", "codial-mi/cifar10"} <= names


def test_short_study_has_all_methods_on_equally_many_views():
    found = [each.config for each in study(budget="short")]
    assert {config.method.name for config in found} == set(method_names())
    ours = codial.preset("codial/cifar10").train.epochs / codial.preset("codial/short").train.epochs
    for config in found:
        long = codial.preset(config.name.replace("short", "cifar10")).train.epochs
        assert abs(long / ours - config.train.epochs) < 1  # rounded


@pytest.mark.parametrize("budget", ["brief", "full"])
def test_gpu_studies_have_full_width_and_all_images(budget):
    for each in study(budget=budget):
        assert (each.config.model.width, each.config.data.limit) == (1.0, None)


@pytest.mark.parametrize(
    ("data", "budget", "message"),
    [
        ("stl10", "small", "There is no study of 'stl10'"),
        ("cifar10", "tiny", "budget is 'tiny'; expected one of short, small, brief, full"),
    ],
)
def test_unknown_study_raises(data, budget, message):
    with pytest.raises(CodialError, match=message):
        study(data, budget)
