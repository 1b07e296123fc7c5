"""Answers to open questions are what the published reports and histories say."""

import json
import shutil
from statistics import mean

import pytest

import codial
from codial.answers import Told, answers, told_by_colours
from codial.comparison import open_published
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.plots.answers import answer_dots, colour_dots
from codial.presets import PRESETS
from codial.readings import READINGS, questions


@pytest.fixture(scope="module")
def found():
    return answers(open_published("results/cifar10*/codial*"), "cifar10")


def test_every_answer_is_a_preset_and_every_reading_answers_a_question():
    named = [system for told in questions().values() for system in told]
    assert all(f"{system}/cifar10" in PRESETS for system in named)
    assert {f"codial-{name}" for name in READINGS} <= set(named)
    assert all(next(iter(told)) == "codial" for told in questions().values())


def test_numbers_are_those_of_the_reports(found):
    (answer,) = [a for a in found.found["What does each part of the loss add?"] if a.system == "codial-cls"]
    runs = [codial.open_run(f"results/{scale}/codial-cls") for scale in ("cifar10", "cifar10-seed1")]
    reports = [ProbeReport.load(run.folder / "probe-cifar10.json") for run in runs]
    assert answer.layers == {layer: [report.mean(layer) for report in reports] for layer in reports[0].accuracies}
    searched = [json.loads((run.folder / "retrieval-cifar10-fc7.json").read_text()) for run in runs]
    assert answer.precision == [each["precision"] for each in searched]
    curves = [run.curve("pretext_accuracy")[1] for run in runs]
    ends = [mean(values[-round(len(values) / 20) :]) for values in curves]
    assert answer.ends == {"pretext_accuracy": pytest.approx(mean(ends))}


def test_seeds_are_gathered_and_questions_without_another_answer_are_left_out(found):
    for question, given in found.found.items():
        assert given[0].system == "codial", question
        assert len(given[0].precision) == 3
        assert len(given) > 1
    alone = answers(open_published("results/cifar10/codial, results/cifar10/codial-mi"), "cifar10")
    assert list(alone.found) == ["What does each part of the loss add?"]
    assert "alignment alone" in str(alone)


def test_a_line_has_percent_for_the_pretext_and_a_dash_for_what_a_run_lacks(found):
    (answer,) = [a for a in found.found["What does each part of the loss add?"] if a.system == "codial-cls"]
    assert answer.cells()[-4:] == (f"{100 * answer.ends['pretext_accuracy']:.1f}", "-", "-", "-")


def test_numbers_may_be_of_another_set_than_was_learnt_from(found, tmp_path):
    """As when runs of one set are probed on another: the reports' names say which."""
    folders = []
    for system in ("codial", "codial-cls"):
        folders.append(tmp_path / system)
        shutil.copytree(f"results/cifar10/{system}", folders[-1])
        for path in folders[-1].glob("*-cifar10*.json"):
            path.rename(path.with_name(path.name.replace("cifar10", "elsewhere")))
    other = answers([codial.open_run(folder) for folder in folders], "elsewhere")
    (given,) = other.found.values()
    assert [answer.system for answer in given] == ["codial", "codial-cls"]


def test_two_systems_stand_beside_each_other_layer_by_layer(found):
    told = found.beside("codial-crop50", "codial-z16")
    reports = [ProbeReport.load(f"results/cifar10/codial-{name}/probe-cifar10.json") for name in ("crop50", "z16")]
    gains = [f"{layer} {reports[0].mean(layer) - reports[1].mean(layer):+.1f}" for layer in found.layers]
    assert told == f"codial-crop50 beside codial-z16: {', '.join(gains)} (1 and 1 runs)"
    assert found.beside("codial", "rotnet") == "codial beside rotnet: no reports of rotnet here"


def test_without_codials_own_run_there_is_nothing_to_compare_with():
    with pytest.raises(CodialError, match=r"no run of CODIAL itself with reports on cifar10"):
        answers(open_published("results/cifar10/codial-cls"), "cifar10")


def test_a_dot_lies_where_the_gain_is(found):
    figure = answer_dots(found.found, ("conv2",))
    rows = [answer for given in found.found.values() for answer in given[1:]]
    own = mean(next(iter(found.found.values()))[0].layers["conv2"])
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [pytest.approx(mean(a.layers["conv2"]) - own) for a in rows]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [answer.says for answer in rows]


def test_a_bound_stands_beside_what_colours_give_in_its_reports():
    told = {each.system: each for each in told_by_colours(open_published("results/cifar10*/codial*"))}
    runs = [codial.open_run(f"results/{scale}/codial") for scale in ("cifar10", "cifar10-seed1", "cifar10-seed2")]
    given = [json.loads((run.folder / "shortcuts-cifar10.json").read_text())["nats"]["colours"] for run in runs]
    ends = [mean(values[-round(len(values) / 20) :]) for values in (run.curve("mi_js")[1] for run in runs)]
    assert told["codial"] == Told("codial", pytest.approx(mean(given)), pytest.approx(mean(ends)))
    assert "codial-cr" in told  # no reading, but it aligns
    assert "codial-cls" not in told


def test_what_colours_tell_is_to_be_measured_first(tmp_path):
    shutil.copytree("results/cifar10/codial", tmp_path / "codial", ignore=shutil.ignore_patterns("shortcuts*"))
    told = told_by_colours([codial.open_run(tmp_path / "codial")])
    assert told == []
    (said,) = colour_dots(told).axes[0].texts
    assert said.get_text() == "no views are measured yet: codial shortcuts RUN"


def test_bounds_are_dots_and_of_those_that_lie_together_one_is_named():
    told = [Told("a", 0.7, 0.6), Told("b", 0.72, 0.63), Told("c", 0.4, 0.6), Told("d", 0.7, 0.1)]
    (axes,) = colour_dots(told).axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(list(dot.get_xdata()), list(dot.get_ydata())) for dot in dots] == [
        ([0.7, 0.72], [0.6, 0.63]),
        ([0.4], [0.6]),
        ([0.7], [0.1]),
    ]
    assert [text.get_text() for text in axes.texts] == ["a and 1 more", "c", "d"]
    assert [text.get_ha() for text in axes.texts] == ["left", "right", "left"]  # above the line they stand left of it
