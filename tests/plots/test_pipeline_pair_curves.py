"""The paper's Figures 2 and 3, checked by their artists."""

import numpy as np
import pytest

from codial import preset
from codial.evaluate import method_inputs
from codial.plots.pair_curves import pair_curves
from codial.plots.pipeline import pipeline
from codial.plots.probes import gain_bars
from codial.plots.style import pixels
from codial.plots.tooltips import png_with_tooltips

ACCURACIES = {
    "conv1": {1: [60.0, 62.0], 3: [64.0], 10: [65.0, 66.0, 70.0]},
    "conv5": {1: [50.0], 3: [51.0], 10: [52.0]},
}


def test_curves_are_means_by_number_of_pairs():
    (axes,) = pair_curves(ACCURACIES, "photos", "small " * 40).axes
    conv1, conv5 = axes.lines
    assert (conv1.get_label(), conv5.get_label()) == ("conv1", "conv5")
    assert conv1.get_xdata().tolist() == [1, 3, 10]
    assert conv1.get_ydata().tolist() == [61.0, 64.0, 67.0]
    assert conv5.get_ydata().tolist() == [50.0, 51.0, 52.0]
    assert axes.get_title() == "photos"
    texts = axes.get_xlabel()
    assert texts.count("small") == 40
    assert max(map(len, texts.splitlines())) <= 85, "within the figure"


def test_bands_are_one_std_where_there_are_several_runs():
    (axes,) = pair_curves(ACCURACIES).axes
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert sorted(corners[corners[:, 0] == 1][:, 1])[0] == pytest.approx(61 - 2**0.5)
    assert sorted(corners[corners[:, 0] == 10][:, 1])[-1] == pytest.approx(67 + 7**0.5)
    assert set(corners[corners[:, 0] == 3][:, 1]) == {64.0}


def test_gains_are_bars_with_error_bars_over_runs():
    found = {"codial/photos": {"conv1": [1.0, 3.0], "conv5": [-1.0, -2.0]}, "codial-mi/photos": {"conv1": [0.5, 0.5],
             "conv5": [2.0, 4.0]}}  # fmt: skip
    (axes,) = gain_bars(found, "gain").axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [2.0, -1.5, 0.5, 3.0]
    assert axes.get_ylim()[0] < -1.5 - 0.5**0.5 < 3 + 2**0.5 < axes.get_ylim()[1]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[:3] == ["codial/photos, 2 runs", "codial-mi/photos, 2 runs", "± std over runs (capped)"]
    texts = [tooltip.text for tooltip in png_with_tooltips(gain_bars(found))[1]]
    assert "codial/photos, conv5: -1.5 ± 0.7 (2 runs)" in texts


def test_markers_are_the_papers_gains_over_its_random_weights():
    found = {"codial-mi/photos": {"conv1": [1.0], "conv5": [2.0]}, "cmc/photos": {"conv1": [1.0], "conv5": [2.0]},
             "codial-pairs3/photos": {"conv1": [1.0], "conv5": [2.0]}}  # fmt: skip
    texts = [tooltip.text for tooltip in png_with_tooltips(gain_bars(found))[1] if "paper" in tooltip.text]
    assert sorted(texts) == [
        "cmc, conv1: +6.7 in the paper, on ImageNet",  # Table 3: 18.3 - 11.6
        "cmc, conv5: +28.7 in the paper, on ImageNet",  # 42.8 - 14.1
        "codial-mi, conv1: +9.8 in the paper, on STL-10",  # Table 2: 58.2 - 48.4
        "codial-mi, conv5: +18.6 in the paper, on STL-10",  # 66.5 - 47.9
    ]


def test_points_of_figure_3_have_tooltips():
    texts = [tooltip.text for tooltip in png_with_tooltips(pair_curves(ACCURACIES))[1]]
    assert len(texts) == 6
    assert {"conv1, 1 pair: 61.0 ± 1.4 % (2 runs)", "conv5, 10 pairs: 52.0 % (one run)"} <= set(texts)


@pytest.fixture(scope="module")
def drawn(few):
    config = preset("codial/photos")
    views = {name: view[0] for name, view in method_inputs(config, few, [3]).items() if name != "image"}
    return few.batch([3])[0], views, pipeline(few.batch([3])[0], views)


def test_the_pipeline_shows_the_image_and_its_views_in_order(drawn):
    original, views, figure = drawn
    (axes,) = figure.axes
    first, *others = [np.asarray(image.get_array()) for image in axes.images]
    assert np.array_equal(first, pixels(original))
    assert all(np.array_equal(a, pixels(b)) for a, b in zip(others, views.values(), strict=True))
    heights = [image.get_extent()[2] for image in axes.images[1:]]
    assert heights == sorted(heights, reverse=True)
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("warp") == 2, "below its view and below its class"
    assert {"rotation 90°", "90°"} <= set(texts)
    assert {"conv1", "fc7", "10 pairs"} <= set(texts)
    assert sum(text.get_gid() == "pair" for text in axes.texts) == 10
