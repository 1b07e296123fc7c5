"""Views with a run's predictions and saliency maps, checked by the figure's artists."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

import codial
from codial.config import ViewsConfig
from codial.evaluate import Prediction
from codial.plots.pretext_saliency import sampled_views
from codial.plots.style import COLORS, GRAY, png

CONFIG = ViewsConfig(size=32)
NAMES = ("rot0", "rot90", "rot180", "rot270", "other")  # of a method without warps


@pytest.fixture
def image(photos):
    return photos["train"].batch([3])[0]


@pytest.fixture
def views(image, generator):
    return codial.sample_views(image.unsqueeze(0), CONFIG, generator)


@pytest.fixture
def prediction(generator):
    """Right for the first view, wrong for the next three, and neither for the warp."""
    parts = torch.full((5, 5), 0.1)
    parts[torch.arange(5), torch.tensor([0, 0, 0, 0, 4])] = 0.6
    return Prediction(NAMES, parts, torch.rand(5, 32, 32, generator=generator))


def grid(figure, rows):
    return np.array(figure.axes, dtype=object).reshape(rows, -1)


def test_without_a_prediction_only_views_are_drawn(image, views):
    axes = grid(sampled_views(image, views, CONFIG), 1)
    assert [a.get_title() for a in axes[0]] == [
        "image and crops",
        "rotation 0°",
        "rotation 90°",
        "rotation 180°",
        "rotation 270°",
        "warp",
    ]
    for k in range(5):
        shown = torch.from_numpy(np.array(axes[0, k + 1].images[0].get_array())).permute(2, 0, 1) / 255
        torch.testing.assert_close(shown, views.images[0, k], atol=0.51 / 255, rtol=0)
    assert len(axes[0, 0].patches) == 5, "crop boxes"


def test_bars_are_probabilities_with_the_outcome_in_their_titles(image, views, prediction):
    bars = grid(sampled_views(image, views, CONFIG, prediction), 3)[2, 1:]
    for k, axes in enumerate(bars):
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(prediction.probabilities[k].tolist())
    titles = ["✓ rotation 0° 60 %", *["✗ rotation 0° 60 %"] * 3, "other 60 %"]
    assert [axes.get_title() for axes in bars] == titles
    colors = [COLORS["right"], *[COLORS["wrong"]] * 3, GRAY]
    assert [axes.patches[0].get_facecolor() for axes in bars] == [to_rgba(color) for color in colors]


def test_the_bar_of_the_true_class_has_an_edge(image, views, prediction):
    bars = grid(sampled_views(image, views, CONFIG, prediction), 3)[2, 1:]
    edged = [[bar.get_edgecolor() == to_rgba("black") for bar in axes.patches] for axes in bars]
    assert edged == [[index == k and k < 4 for index in range(5)] for k in range(5)]


def test_classes_are_named_beside_their_bars(image, views, prediction):
    axes = grid(sampled_views(image, views, CONFIG, prediction, run_name="codial/photos"), 3)
    labels = {text.get_text(): text.get_position()[1] for text in axes[2, 0].texts}
    assert labels == {"rotation 0°": 0, "rotation 90°": 1, "rotation 180°": 2, "rotation 270°": 3, "other": 4}
    assert axes[2, 0].get_ylim() == axes[2, 1].get_ylim()
    assert "codial/photos" in axes[1, 0].texts[0].get_text()


def test_views_are_dimmed_where_saliency_is_low(image, views, prediction):
    maps = grid(sampled_views(image, views, CONFIG, prediction), 3)[1, 1:]
    for k, axes in enumerate(maps):
        shown = torch.from_numpy(np.array(axes.images[0].get_array())).permute(2, 0, 1) / 255
        light = shown.sum() / views.images[0, k].sum()
        assert 0.35 < float(light) < 1
        brightest = views.images[0, k].amax(0) > 0.3
        ratio = (shown / views.images[0, k].clamp_min(1e-3)).mean(0)[brightest]
        correlation = np.corrcoef(ratio.numpy(), prediction.saliency[k][brightest].numpy())[0, 1]
        assert correlation > 0.98


def test_saliency_of_0_everywhere_can_be_drawn(image, views, prediction):
    png(sampled_views(image, views, CONFIG, prediction._replace(saliency=torch.zeros(5, 32, 32))))


@pytest.mark.parametrize("primary", [("warp",), ("rot0", "rot90")])
def test_any_number_of_views_is_drawn_at_the_same_scale(image, generator, primary):
    config = ViewsConfig(size=32, primary=primary)
    views = codial.sample_views(image.unsqueeze(0), config, generator)
    figure = sampled_views(image, views, config)
    sides = {tuple(np.round(a.get_position().size * figure.get_size_inches(), 6)) for a in figure.axes}
    assert sides == {(1.47, 1.47)}
    assert len(figure.axes) == 1 + len(primary)
