import math

import numpy as np
import pytest
import torch

from codial.evaluate import toy_mi
from codial.evaluate.toy_mi import BottleneckResult, DivergenceEstimates, InformationEstimates
from codial.losses.bottleneck import BetaSchedule
from codial.losses.bounds import BOUNDS, TWO_LN2
from codial.plots import mutual_information as plots
from codial.plots.style import COLORS, png

TRUTH = torch.tensor([0.0, 1.0, 4.0])
ESTIMATES = {d: InformationEstimates(TRUTH, TRUTH / 4, TRUTH / 5, TRUTH / 2 + d) for d in (1, 16)}


def drawn(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return [list(map(float, values)) for values in line.get_data()]


def test_bounds_of_trained_and_optimal_critics():
    grid = [0.0, 2.0, 8.0]
    best = {d: (grid, torch.tensor([0.0, 0.5, d / 16])) for d in ESTIMATES}
    first, second, scores = plots.bound_and_truth(ESTIMATES, best).axes
    assert drawn(second, "optimal critic") == [grid, [0.0, 0.5, 1.0]]
    assert drawn(first, "trained critic") == [TRUTH.tolist(), pytest.approx((TRUTH / 5).tolist())]
    assert drawn(first, "maximum, 2 ln 2")[1] == [TWO_LN2, TWO_LN2]
    assert drawn(scores, "16 dimensions") == [TRUTH.tolist(), [16.0, 16.5, 18.0]]
    assert drawn(scores, "optimal critic") == [[0, 4], [0, 4]]
    assert [a.get_title() for a in (first, second)] == ["1 dimension", "16 dimensions"]


def test_single_samples_beside_the_closed_form():
    closed = torch.tensor([1.0, 0.3, 0.01])
    sampled = torch.tensor([[0.0, 2.0], [-0.4, 1.0], [0.01, 0.03]])
    left, right = plots.closed_and_sampled(DivergenceEstimates(closed, sampled)).axes
    x, y = drawn(left, "mean of 2 samples")
    assert x == pytest.approx([0.01, 0.3, 1.0])
    assert y == pytest.approx([0.02, 0.3, 1.0])
    assert drawn(right, "closed form, 0.30")[0] == pytest.approx([0.3, 0.3])
    assert drawn(right, "50 % of the samples are negative")[0] == [0, 0]


def test_schedules_start_and_end_at_their_betas():
    schedule = BetaSchedule(start=1e-4, end=0.5, hold=0.2, ramp=0.3)
    (axes,) = plots.beta_schedules({"a": schedule, "b": toy_mi.constant_beta(0.1)}).axes
    x, y = drawn(axes, "a")
    assert (x[0], x[-1]) == (0, 100)
    assert np.interp((0, 20, 50, 100), x, y) == pytest.approx((1e-4, 1e-4, 0.5, 0.5))
    assert set(drawn(axes, "b")[1]) == {0.1}
    assert axes.get_yscale() == "log"


def test_cues_have_bars_with_their_bounds():
    found = {
        "weak": {"colors": 0.7, "tones": 0.3, "layout": 0.2},
        "strong": {"colors": 0.1, "tones": 0.3, "layout": 0},
    }
    (axes,) = plots.shortcut_bars(found).axes
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.1, 0.3, 0.3, 0.2, 0]
    assert [text.get_text() for text in axes.texts] == ["0.70", "0.10", "0.30", "0.30", "0.20", "0.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["weak", "strong"]
    assert axes.yaxis_inverted()  # the first is on top
    assert axes.get_xlim()[1] > TWO_LN2


def bottleneck(beta, shared, private):
    return BottleneckResult(shared, private, [0.1 * beta] * 40, [2.0] * 40, [beta] * 40, beta)


def test_kept_information_against_the_final_beta():
    sweep = {"fixed": [bottleneck(0.1, 3, 1), bottleneck(1, 2, 0)], "ramp": [bottleneck(0.1, 4, 0.5)]}
    left, right = plots.kept_information({"one": sweep, "two": sweep}).axes
    assert drawn(left, "shared, fixed beta") == [[0.1, 1], [3, 2]]
    assert drawn(right, "private, ramp from 1e-6") == [[0.1], [0.5]]
    assert left.lines[0].get_color() == COLORS["fixed"]
    assert left.get_ylim() == right.get_ylim()


def test_curves_of_a_collapse_are_smoothed():
    values = torch.arange(40.0).tolist()
    run = BottleneckResult(1, 1, values, [1.0] * 40, [0.1] * 40, 0.1)
    figure = plots.collapse({"a": run, "b": bottleneck(1, 1, 1)}, smooth=5)
    steps, means = figure.axes[0].lines[0].get_data()
    assert list(steps) == list(range(2, 38))
    assert list(means) == pytest.approx(list(range(2, 38)))  # a straight line stays where it is
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert png(figure).startswith(b"\x89PNG")


def test_all_bounds_have_curves_and_ceilings():
    truths = [0.0, 1.0, 2.0]
    estimates = {bound: torch.rand(3, 4) for bound in BOUNDS}
    left, middle, right = plots.all_bounds((truths, estimates), (truths, estimates), batch=8).axes
    for axes in (left, middle):
        for bound, values in estimates.items():
            line = next(line for line in axes.lines if line.get_label() == plots.BOUND_NAMES[bound])
            assert line.get_ydata() == pytest.approx(values.mean(1).numpy())
        assert {TWO_LN2, math.log(8)} <= {float(line.get_ydata()[0]) for line in axes.lines}
    for line, values in zip(right.lines, estimates.values(), strict=True):
        assert line.get_ydata() == pytest.approx(values.std(1).numpy())
