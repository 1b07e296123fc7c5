"""Systems side by side: what each is shown, and its layers beside the paper's."""

import re

import numpy as np
import pytest
import torch

from codial import ProbeConfig, ProbeReport, paper
from codial.models import CONV_TAPS
from codial.plots.systems import layer_curves, what_they_see
from codial.tables import Comparison, Judged, Row


def test_each_system_has_a_row_of_its_pictures(generator):
    first = {name: torch.rand(2, 3, 8, 8, generator=generator) for name in ("picture", "turn0", "warp")}
    second = {"picture": first["picture"], "lightness L": torch.rand(2, 3, 8, 8, generator=generator)}
    axes = np.array(what_they_see({"codial": first, "cmc": second}, place=1).axes).reshape(2, 3)
    assert [a.get_title() for a in axes[0]] == ["picture", "0° turn", "warp"]
    assert [row[0].get_ylabel() for row in axes] == ["codial", "cmc"]
    assert not axes[1, 2].axison
    for place, pictures in zip(axes, (first, second), strict=True):
        for cell, picture in zip(place, pictures.values(), strict=False):
            drawn = torch.from_numpy(np.array(cell.images[0].get_array())).permute(2, 0, 1) / 255
            torch.testing.assert_close(drawn.float(), picture[1], atol=0.51 / 255, rtol=0)


@pytest.fixture
def comparison():
    def judged(name, *accuracies):
        reports = [
            ProbeReport(name, {layer: (a + i,) for i, layer in enumerate(CONV_TAPS)}, {}, ProbeConfig(), "a", "b")
            for a in accuracies
        ]
        return Row(name, tuple(Judged(None, report, 30.0) for report in reports))

    return Comparison((judged("codial/photos", 60.0, 64.0), judged("cmc/photos", 50.0)))


def test_curves_are_means_with_the_papers_beside_them(comparison):
    ours, stl10, imagenet = layer_curves(comparison, "here").axes
    by_label = {re.sub("_.*", "", container.get_label()): container for container in ours.containers}
    assert list(by_label["codial/photos"].lines[0].get_ydata()) == [62.0, 63.0, 64.0, 65.0, 66.0]
    bars = by_label["codial/photos"].lines[2][0].get_segments()
    assert bars[0][:, 1].tolist() == pytest.approx([62 - 8**0.5, 62 + 8**0.5])  # sample deviation of 60 and 64
    assert not by_label["cmc/photos"].lines[2], "one run has no spread"
    assert [list(line.get_ydata()) for line in stl10.lines] == [list(paper.printed("codial")[1].values())]
    assert [list(line.get_ydata()) for line in imagenet.lines] == [list(paper.printed("cmc")[1].values())]
    shapes = [by_label[name].lines[0].get_marker() for name in ("codial/photos", "cmc/photos")]
    assert shapes == [panel.lines[0].get_marker() for panel in (stl10, imagenet)]
    assert shapes[0] != shapes[1]
    assert [a.get_title() for a in (ours, stl10, imagenet)] == ["here", "the paper, STL-10", "the paper, ImageNet"]
