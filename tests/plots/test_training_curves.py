import math

import pytest

from codial.config import Config, TrainConfig, ViewsConfig
from codial.methods.codial import CodialConfig
from codial.methods.supervised import SupervisedConfig
from codial.plots import training_curves as plots
from codial.plots.style import COLORS, png

CONFIG = Config(name="made", train=TrainConfig(epochs=4))


def train(step, **terms):
    line = {"kind": "train", "step": step, "epoch": step / 10, "views": 320 * step, "seconds": step / 2}
    return line | {"loss": 1.5, "loss_transform": 1.6, "mi_js": 0.1, "skl": 20.0, "beta": 1e-5,
                   "pretext_accuracy": 0.25, "lr": 1e-3} | terms  # fmt: skip


def monitor(step, **terms):
    line = {"kind": "monitor", "step": step, "epoch": step / 10, "views": 320 * step, "seconds": step / 2}
    return line | {"feature_std": 0.5, "rankme": 20.0, "knn": 40.0, "probe": 50.0} | terms


LINES = [monitor(0), train(5), train(10, loss=1.2), monitor(10, knn=45.0, probe=61.0)]


def curves_axes(figure):
    return [axes for axes in figure.axes if not axes.get_title().startswith("confusion")]


def curves(figure):
    """All curves of a figure by term, as lists of (x, y)."""
    found = {}
    for axes in figure.axes:
        for line in axes.lines:
            x, y = (list(values) for values in line.get_data())
            if len(x) and line.get_label() in plots_labels():
                found[plots_labels()[line.get_label()]] = list(zip(x, y, strict=True))
    return found


def plots_labels():
    return {name: name for name in COLORS} | {"knn, last layer": "knn", "probe, last maps": "probe"}


def test_every_term_of_the_history_is_drawn():
    found = curves(plots.history(LINES, CONFIG))
    assert found["loss"] == [(5, 1.5), (10, 1.2)]
    assert found["loss_transform"] == [(5, 1.6), (10, 1.6)]
    assert found["mi_js"] == [(5, 0.1), (10, 0.1)]
    assert found["skl"] == [(5, 20.0), (10, 20.0)]
    assert found["beta"] == [(5, 1e-5), (10, 1e-5)]
    assert found["pretext_accuracy"] == [(5, 25.0), (10, 25.0)]  # percent
    assert found["knn"] == [(0, 40.0), (10, 45.0)]
    assert found["probe"] == [(0, 50.0), (10, 61.0)]
    assert found["feature_std"] == [(0, 0.5), (10, 0.5)]
    assert found["rankme"] == [(0, 20.0), (10, 20.0)]


def levels(axes):
    return [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]


def test_reference_lines():
    losses, bound, _, _, pretext, _, useful, *_ = plots.history(LINES, CONFIG).axes
    assert levels(losses) == pytest.approx([math.log(5)])
    assert levels(bound) == pytest.approx([2 * math.log(2), 0])
    assert levels(pretext) == [20.0]
    assert levels(useful) == [40.0, 50.0]  # where the random weights were


def test_beta_is_on_a_logarithmic_axis():
    beta = next(a for a in plots.history(LINES, CONFIG).axes if "beta" in a.get_title())
    assert beta.get_yscale() == "log"
    assert beta.get_ylim()[0] < CONFIG.method.beta_start < CONFIG.method.beta_end < beta.get_ylim()[1]


@pytest.mark.parametrize(("step", "end"), [(3, 5), (10, 10), (11, 20), (21, 40), (40, 40)])
def test_the_x_axis_spans_the_run_or_a_half_or_quarter_of_it(step, end):
    for axes in curves_axes(plots.history([monitor(0), train(step)], CONFIG)):
        assert axes.get_xlim()[1] == pytest.approx(end, rel=0.05)  # of 4 epochs of 10 steps


def test_the_title_has_step_epoch_speed_and_loss():
    assert plots.headline(LINES, CONFIG) == "made: step 10, epoch 1.0 of 4, 640 views/s, loss 1.200"
    assert plots.headline([monitor(0)], CONFIG) == "made: step 0, epoch 0.0 of 4"
    assert plots.headline([], CONFIG) == "made: not started"
    assert plots.history(LINES, CONFIG).get_suptitle() == plots.headline(LINES, CONFIG)


@pytest.mark.parametrize("lines", [[], [monitor(0)], [train(5)], [{**train(5), "epoch": 0.0}]])
def test_a_run_that_has_just_started_can_be_drawn(lines):
    assert png(plots.history(lines, CONFIG)).startswith(b"\x89PNG")


def test_a_method_without_alignment_has_six_panels():
    config = Config(method=SupervisedConfig(), views=ViewsConfig(primary=("rot0",)))
    lines = [{k: v for k, v in line.items() if k not in ("loss_transform", "mi_js", "skl", "beta")} for line in LINES]
    figure = plots.history(lines, config)
    assert len(figure.axes) == 6
    assert levels(figure.axes[0]) == []
    assert curves(figure)["pretext_accuracy"] == [(5, 25.0), (10, 25.0)]


def test_a_real_run_can_be_drawn(tiny_run):
    found = curves(plots.history(tiny_run.history, tiny_run.config))
    for name in ("loss", "mi_js", "skl", "beta", "knn", "probe"):
        assert [list(axis) for axis in zip(*found[name], strict=True)] == [list(axis) for axis in tiny_run.curve(name)]


def test_runs_are_compared_by_views():
    figure = plots.compare({"codial/photos": LINES, "random/photos": [monitor(0)]})
    left, right = figure.axes
    codial, random = left.lines
    assert codial.get_xydata().tolist() == [[0, 40.0], [3200, 45.0]]
    assert (codial.get_color(), random.get_color()) == (COLORS["codial"], COLORS["random"])
    assert random.get_ydata() == [40.0, 40.0]
    assert right.lines[0].get_ydata().tolist() == [50.0, 61.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["codial/photos", "random/photos"]


def test_the_outcome_is_one_line():
    probes = "probe on the last maps 50 % with random weights, 61 % after training"
    expected = f"{probes}; pretext_accuracy 25 %; mi_js 0.10 nats"
    assert plots.outcome(LINES) == expected
    assert plots.outcome([train(5)]) == "pretext_accuracy 25 %; mi_js 0.10 nats"
    assert plots.outcome([]) == "not started"


def matrix_axes(figure):
    return next(axes for axes in figure.axes if axes.get_title().startswith("confusion"))


def test_the_last_confusion_matrix_is_drawn_in_percent_of_its_rows():
    classes = ["rot0", "rot90", "warp"]
    old, new = (
        {"classes": classes, "counts": counts} for counts in ([[9, 0, 0]] * 3, [[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    )
    axes = matrix_axes(plots.history([monitor(0, confusion=old), monitor(10, confusion=new)], CONFIG))
    assert axes.images[0].get_array().tolist() == [[75, 25, 0], [25, 75, 0], [0, 0, 0]]
    assert [text.get_text() for text in axes.texts] == ["75", "25", "0", "25", "75", "0", "0", "0", "0"]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["0°", "90°", "warp"]


def test_a_history_without_confusion_matrix():
    assert [text.get_text() for text in matrix_axes(plots.history(LINES, CONFIG)).texts] == [
        "no confusion matrix in this history"
    ]


def test_losses_have_distinct_colors():
    lines = [train(step, loss_mean=0.1, loss_instance=2.0, loss_border=0.3) for step in (5, 10)]
    drawn = [line for line in plots.history(lines, CONFIG).axes[0].lines if line.get_linestyle() == "-"]
    names = {"loss", "loss_transform", "loss_mean", "loss_instance", "loss_border"}
    assert {line.get_label() for line in drawn} == names
    assert len({line.get_color() for line in drawn}) == len(names)


def test_other_runs_are_overlaid_in_the_terms_colors_by_views():
    other = [monitor(0), train(20, mi_js=0.4), monitor(20, knn=50.0)]
    figure = plots.history(LINES, CONFIG, {"first": other, "second": [train(10, mi_js=0.7)]})
    bound = next(axes for axes in figure.axes if axes.get_title().startswith("mi_js"))
    *overlaid, own = [line for line in bound.lines if line.get_linestyle() == "-"]
    assert [line.get_xydata().tolist() for line in overlaid] == [[[6400, 0.4]], [[3200, 0.7]]]
    assert own.get_xydata().tolist() == [[1600, 0.1], [3200, 0.1]]
    assert {line.get_color() for line in (*overlaid, own)} == {COLORS["mi_js"]}
    assert all(line.get_linewidth() < own.get_linewidth() for line in overlaid)
    assert len({line.get_marker() for line in overlaid}) == 2
    assert bound.get_xlabel() == "views"
    assert bound.get_xlim()[1] == pytest.approx(320 * 20, rel=0.05)  # as far as the longest has come
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["made", "first", "second"]
    assert [line.get_marker() for line in legend.get_lines()][1:] == [line.get_marker() for line in overlaid]


def test_more_runs_than_markers_can_be_overlaid():
    figure = plots.history(LINES, CONFIG, {str(number): LINES for number in range(9)})
    assert len(figure.legends[0].get_texts()) == 10
    assert png(figure).startswith(b"\x89PNG")


def test_names_of_overlaid_runs_stay_within_the_figure(tiny_run):
    for count in (1, 4, 9):
        others = {f"codial/cifar10 (cifar10-seed{n}/codial)": tiny_run.history for n in range(count)}
        figure = plots.history(tiny_run.history, tiny_run.config, others)
        figure.draw_without_rendering()
        box, titles = figure.legends[0].get_window_extent(), [axes.title.get_window_extent() for axes in figure.axes]
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= max(title.y1 for title in titles)


@pytest.mark.parametrize(("bottleneck", "panels"), [(True, 9), (False, 7)])
def test_another_bound_has_its_panel_and_its_ceiling(bottleneck, panels):
    method = CodialConfig(bound="infonce", negatives="batch", bottleneck=bottleneck)
    config = Config(name="made", method=method, train=TrainConfig(epochs=4, batch=32))
    lines = [{k: v for k, v in train(step).items() if k != "mi_js"} | {"mi_infonce": 2.0} for step in (5, 10)]
    figure = plots.history(lines, config, {"of js": LINES})
    (axes,) = [axes for axes in figure.axes if axes.get_title().startswith("mi_infonce")]
    assert len(figure.axes) == panels
    assert math.log(156) in levels(axes)
    assert curves(figure)["mi_infonce"] == [(1600, 2.0), (3200, 2.0)]
    assert COLORS["mi_js"] in {line.get_color() for line in axes.lines}, "the other run's bound"
    assert plots.outcome(lines).endswith("mi_infonce 2.00 nats")
