"""The study of CODIAL's variants on published reports and histories."""

import json
import shutil
from statistics import mean

import pytest

import codial
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.experiments.open_runs import open_published
from codial.methods.codial import Codial, questions
from codial.methods.presets import is_preset
from codial.plots.variant_study import color_bound_dots, variant_dots
from codial.results.variant_study import ColorBound, color_bounds, variant_study


@pytest.fixture(scope="module")
def study():
    return variant_study(open_published("results/cifar10*/codial*"), "cifar10")


def test_questions_have_presets_and_variants_have_questions():
    named = [method for answers in questions().values() for method in answers]
    assert all(is_preset(f"{method}/cifar10") for method in named)
    assert {f"codial-{name}" for name, variant in Codial.variants.items() if variant.question} <= set(named)
    assert all(next(iter(answers)) == "codial" for answers in questions().values())


def test_results_are_those_of_the_reports(study):
    (result,) = [r for r in study.results["What does each part of the loss add?"] if r.method == "codial-cls"]
    runs = [codial.open_run(f"results/{scale}/codial-cls") for scale in ("cifar10", "cifar10-seed1")]
    reports = [ProbeReport.load(run.folder / "probe-cifar10.json") for run in runs]
    assert result.layers == {layer: [report.mean(layer) for report in reports] for layer in reports[0].accuracies}
    retrieval = [json.loads((run.folder / "retrieval-cifar10-fc7.json").read_text()) for run in runs]
    assert result.precision == [each["precision"] for each in retrieval]
    curves = [run.curve("pretext_accuracy")[1] for run in runs]
    ends = [mean(values[-round(len(values) / 20) :]) for values in curves]
    assert result.final_terms == {"pretext_accuracy": pytest.approx(mean(ends))}


def test_seeds_are_grouped_and_questions_without_variants_are_dropped(study):
    for question, results in study.results.items():
        assert results[0].method == "codial", question
        assert len(results[0].precision) == 3
        assert len(results) > 1
    alone = variant_study(open_published("results/cifar10/codial, results/cifar10/codial-mi"), "cifar10")
    assert list(alone.results) == ["What does each part of the loss add?"]
    assert "alignment alone" in str(alone)


def test_cells_have_percent_and_dashes_for_missing_terms(study):
    (result,) = [r for r in study.results["What does each part of the loss add?"] if r.method == "codial-cls"]
    assert result.cells()[-4:] == (f"{100 * result.final_terms['pretext_accuracy']:.1f}", "-", "-", "-")


def test_reports_may_be_on_another_dataset(study, tmp_path):
    """Reports are named after the dataset that probes were trained on."""
    folders = []
    for method in ("codial", "codial-cls"):
        folders.append(tmp_path / method)
        shutil.copytree(f"results/cifar10/{method}", folders[-1])
        for path in folders[-1].glob("*-cifar10*.json"):
            path.rename(path.with_name(path.name.replace("cifar10", "elsewhere")))
    other = variant_study([codial.open_run(folder) for folder in folders], "elsewhere")
    (results,) = other.results.values()
    assert [result.method for result in results] == ["codial", "codial-cls"]


def test_difference_is_by_layer(study):
    text = study.difference("codial-crop50", "codial-z16")
    reports = [ProbeReport.load(f"results/cifar10/codial-{name}/probe-cifar10.json") for name in ("crop50", "z16")]
    gains = [f"{layer} {reports[0].mean(layer) - reports[1].mean(layer):+.1f}" for layer in study.layers]
    assert text == f"codial-crop50 - codial-z16: {', '.join(gains)} (1 and 1 runs)"
    assert study.difference("codial", "rotnet") == "codial - rotnet: no reports of rotnet"


def test_missing_default_raises():
    with pytest.raises(CodialError, match=r"no run of codial with reports on cifar10"):
        variant_study(open_published("results/cifar10/codial-cls"), "cifar10")


def test_the_photographs_infonce_is_no_default_of_questions_about_the_papers_form():
    with pytest.raises(CodialError, match=r"codial/photos has the bound infonce; the questions are about the paper"):
        variant_study(open_published("results/photos/codial"), "photos")


def test_dots_are_at_the_gains(study):
    figure = variant_dots(study.results, ("conv2",))
    rows = [result for results in study.results.values() for result in results[1:]]
    default = mean(next(iter(study.results.values()))[0].layers["conv2"])
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [pytest.approx(mean(r.layers["conv2"]) - default) for r in rows]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [result.label for result in rows]


def test_color_bounds_are_those_of_the_reports():
    bounds = {each.method: each for each in color_bounds(open_published("results/cifar10*/codial*"))}
    runs = [codial.open_run(f"results/{scale}/codial") for scale in ("cifar10", "cifar10-seed1", "cifar10-seed2")]
    colors = [json.loads((run.folder / "shortcuts-cifar10.json").read_text())["nats"]["colors"] for run in runs]
    ends = [mean(values[-round(len(values) / 20) :]) for values in (run.curve("mi_js")[1] for run in runs)]
    assert bounds["codial"] == ColorBound("codial", pytest.approx(mean(colors)), pytest.approx(mean(ends)))
    assert "codial-cr" in bounds  # answers no question, but aligns views
    assert "codial-cls" not in bounds


def test_runs_without_a_shortcuts_report_are_skipped(tmp_path):
    shutil.copytree("results/cifar10/codial", tmp_path / "codial", ignore=shutil.ignore_patterns("shortcuts*"))
    bounds = color_bounds([codial.open_run(tmp_path / "codial")])
    assert bounds == []
    (text,) = color_bound_dots(bounds).axes[0].texts
    assert text.get_text() == "not measured yet: run codial shortcuts RUN"


def test_one_of_nearby_dots_is_labeled():
    points = (("a", 0.7, 0.6), ("b", 0.72, 0.63), ("c", 0.4, 0.6), ("d", 0.7, 0.1))
    (axes,) = color_bound_dots([ColorBound(*point) for point in points]).axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(list(dot.get_xdata()), list(dot.get_ydata())) for dot in dots] == [
        ([0.7, 0.72], [0.6, 0.63]),
        ([0.4], [0.6]),
        ([0.7], [0.1]),
    ]
    assert [text.get_text() for text in axes.texts] == ["a and 1 more", "c", "d"]
    assert [text.get_ha() for text in axes.texts] == ["left", "right", "left"]  # above the line they stand left of it
