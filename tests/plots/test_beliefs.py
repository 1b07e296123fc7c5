"""The figure of a picture's views and of what a run believes about them, checked by what was drawn."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

import codial
from codial.config import ViewsConfig
from codial.evaluate import Belief
from codial.plots.beliefs import drawn_views
from codial.plots.style import COLOURS, GREY, png

CONFIG = ViewsConfig(size=32)
NAMES = ("turn0", "turn90", "turn180", "turn270", "other")  # a system that does not know warps


@pytest.fixture
def picture(photos):
    return photos["train"].batch([3])[0]


@pytest.fixture
def views(picture, generator):
    return codial.sample_views(picture.unsqueeze(0), CONFIG, generator)


@pytest.fixture
def belief(generator):
    """Right about the first view, wrong about the next three; the warp cannot be judged."""
    parts = torch.full((5, 5), 0.1)
    parts[torch.arange(5), torch.tensor([0, 0, 0, 0, 4])] = 0.6
    return Belief(NAMES, parts, torch.rand(5, 32, 32, generator=generator))


def grid(figure, rows):
    return np.array(figure.axes, dtype=object).reshape(rows, -1)


def test_without_a_belief_there_are_the_views_alone(picture, views):
    axes = grid(drawn_views(picture, views, CONFIG), 1)
    assert [a.get_title() for a in axes[0]] == [
        "picture and its crops",
        "0° turn",
        "90° turn",
        "180° turn",
        "270° turn",
        "warp",
    ]
    for k in range(5):
        shown = torch.from_numpy(np.array(axes[0, k + 1].images[0].get_array())).permute(2, 0, 1) / 255
        torch.testing.assert_close(shown, views.images[0, k], atol=0.51 / 255, rtol=0)
    assert len(axes[0, 0].patches) == 5, "crop boxes"


def test_bars_are_the_probabilities_and_marks_say_right_or_wrong(picture, views, belief):
    bars = grid(drawn_views(picture, views, CONFIG, belief), 3)[2, 1:]
    for k, axes in enumerate(bars):
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(belief.probabilities[k].tolist())
    titles = ["✓ 0° turn 60 %", *["✗ 0° turn 60 %"] * 3, "other 60 %"]
    assert [axes.get_title() for axes in bars] == titles
    colours = [COLOURS["right"], *[COLOURS["wrong"]] * 3, GREY]
    assert [axes.patches[0].get_facecolor() for axes in bars] == [to_rgba(colour) for colour in colours]


def test_the_truths_bar_has_an_edge(picture, views, belief):
    bars = grid(drawn_views(picture, views, CONFIG, belief), 3)[2, 1:]
    edged = [[bar.get_edgecolor() == to_rgba("black") for bar in axes.patches] for axes in bars]
    assert edged == [[place == k and k < 4 for place in range(5)] for k in range(5)]


def test_classes_are_named_beside_their_bars(picture, views, belief):
    axes = grid(drawn_views(picture, views, CONFIG, belief, who="codial/photos"), 3)
    words = {text.get_text(): text.get_position()[1] for text in axes[2, 0].texts}
    assert words == {"0° turn": 0, "90° turn": 1, "180° turn": 2, "270° turn": 3, "other": 4}
    assert axes[2, 0].get_ylim() == axes[2, 1].get_ylim()
    assert "codial/photos" in axes[1, 0].texts[0].get_text()


def test_places_that_do_not_count_are_dimmed(picture, views, belief):
    places = grid(drawn_views(picture, views, CONFIG, belief), 3)[1, 1:]
    for k, axes in enumerate(places):
        shown = torch.from_numpy(np.array(axes.images[0].get_array())).permute(2, 0, 1) / 255
        light = shown.sum() / views.images[0, k].sum()
        assert 0.35 < float(light) < 1
        brightest = views.images[0, k].amax(0) > 0.3
        ratio = (shown / views.images[0, k].clamp_min(1e-3)).mean(0)[brightest]
        correlation = np.corrcoef(ratio.numpy(), belief.places[k][brightest].numpy())[0, 1]
        assert correlation > 0.98


def test_a_belief_without_places_can_be_drawn(picture, views, belief):
    png(drawn_views(picture, views, CONFIG, belief._replace(places=torch.zeros(5, 32, 32))))


@pytest.mark.parametrize("primary", [("warp",), ("turn0", "turn90")])
def test_any_number_of_views_is_drawn_at_the_same_scale(picture, generator, primary):
    config = ViewsConfig(size=32, primary=primary)
    views = codial.sample_views(picture.unsqueeze(0), config, generator)
    figure = drawn_views(picture, views, config)
    sides = {tuple(np.round(a.get_position().size * figure.get_size_inches(), 6)) for a in figure.axes}
    assert sides == {(1.47, 1.47)}
    assert len(figure.axes) == 1 + len(primary)
