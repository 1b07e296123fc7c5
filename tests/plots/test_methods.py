"""Inputs of methods, and accuracy by layer beside the paper's."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codial import ProbeConfig, ProbeReport, preset
from codial.models.alexnet import CONV_LAYERS
from codial.plots.methods import layer_curves, method_input_rows
from codial.results import paper
from codial.results.comparison import ComparisonTable, EvaluatedRun
from codial.runs.run import Run


def test_each_method_has_a_row_of_its_inputs(generator):
    first = {name: torch.rand(2, 3, 8, 8, generator=generator) for name in ("image", "rot0", "warp")}
    second = {"image": first["image"], "lightness L": torch.rand(2, 3, 8, 8, generator=generator)}
    axes = np.array(method_input_rows({"codial": first, "cmc": second}, index=1).axes).reshape(2, 3)
    assert [a.get_title() for a in axes[0]] == ["image", "rotation 0°", "warp"]
    assert [row[0].get_ylabel() for row in axes] == ["codial", "cmc"]
    assert not axes[1, 2].axison
    for row, images in zip(axes, (first, second), strict=True):
        for cell, image in zip(row, images.values(), strict=False):
            drawn = torch.from_numpy(np.array(cell.images[0].get_array())).permute(2, 0, 1) / 255
            torch.testing.assert_close(drawn.float(), image[1], atol=0.51 / 255, rtol=0)


@pytest.fixture
def comparison():
    def evaluated(name, *accuracies):
        reports = [
            ProbeReport(name, {layer: (a + i,) for i, layer in enumerate(CONV_LAYERS)}, {}, ProbeConfig(), "a", "b")
            for a in accuracies
        ]
        runs = [Run(Path(f"{name}-{i}"), replace(preset(name), seed=i)) for i in range(len(reports))]
        return [EvaluatedRun(run, report, 30.0, "fc7") for run, report in zip(runs, reports, strict=True)]

    return ComparisonTable((*evaluated("codial/photos", 60.0, 64.0), *evaluated("cmc/photos", 50.0)))


def test_curves_are_means_with_the_papers_numbers_beside_them(comparison):
    ours, stl10, imagenet = layer_curves(comparison, "here").axes
    by_label = {re.sub("_.*", "", container.get_label()): container for container in ours.containers}
    assert list(by_label["codial/photos"].lines[0].get_ydata()) == [62.0, 63.0, 64.0, 65.0, 66.0]
    bars = by_label["codial/photos"].lines[2][0].get_segments()
    assert bars[0][:, 1].tolist() == pytest.approx([62 - 8**0.5, 62 + 8**0.5])  # sample deviation of 60 and 64
    assert not by_label["cmc/photos"].lines[2], "one run has no std"
    assert [list(line.get_ydata()) for line in stl10.lines] == [list(paper.printed_accuracies("codial")[1].values())]
    assert [list(line.get_ydata()) for line in imagenet.lines] == [list(paper.printed_accuracies("cmc")[1].values())]
    shapes = [by_label[name].lines[0].get_marker() for name in ("codial/photos", "cmc/photos")]
    assert shapes == [panel.lines[0].get_marker() for panel in (stl10, imagenet)]
    assert shapes[0] != shapes[1]
    assert [a.get_title() for a in (ours, stl10, imagenet)] == ["here", "the paper, STL-10", "the paper, ImageNet"]


def test_a_panel_of_the_paper_without_these_methods_is_left_out(comparison):
    figure = layer_curves(ComparisonTable(comparison.evaluated[:2]), "here")
    assert [axes.get_title() for axes in figure.axes] == ["here", "the paper, STL-10"]
