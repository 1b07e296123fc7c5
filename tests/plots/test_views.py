"""Figures of views, checked by what was drawn on them."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.quiver import Quiver

import codial
from codial.config import ViewsConfig
from codial.plots import views as plots
from codial.plots.style import new_figure
from codial.views import control_points, jitter

CONFIG = ViewsConfig(size=32, blur=1.0, blur_sigma=(0.5, 1.0))


@pytest.fixture
def pictures(photos):
    return photos["train"].batch([0, 1])


@pytest.fixture
def views(pictures, generator):
    return codial.sample_views(pictures, CONFIG, generator)


def shown(axes):
    """The picture in some axes, as a tensor [3, H, W] in [0, 1]."""
    return torch.from_numpy(np.array(axes.images[0].get_array())).permute(2, 0, 1).float() / 255


def test_the_grid_shows_each_picture_with_its_crops_and_all_its_views(pictures, views):
    axes = np.array(plots.view_grid(pictures, views, CONFIG).axes).reshape(2, 6)
    for row in range(2):
        boxes = [patch for patch in axes[row, 0].patches if isinstance(patch, Rectangle)]
        got = [(*box.get_xy(), box.get_width(), box.get_height()) for box in boxes]
        expected = views.drawn.box[row] - torch.tensor((0.5, 0.5, 0, 0))  # from the first pixel's outer corner
        assert torch.tensor(got).allclose(expected)
        for k in range(5):
            torch.testing.assert_close(shown(axes[row, k + 1]), views.images[row, k], atol=0.51 / 255, rtol=0)
            box_colour, frame_colour = boxes[k].get_edgecolor(), axes[row, k + 1].spines["left"].get_edgecolor()
            assert box_colour == frame_colour
    assert [a.get_title() for a in axes[0, 1:]] == ["0° turn", "90° turn", "180° turn", "270° turn", "warp"]


def test_what_was_drawn_stands_beneath_in_the_order_of_its_use(views):
    drawn = views.drawn
    lines = plots.describe(drawn, 1, 4, (64, 64), CONFIG)
    _, _, width, height = drawn.box[1, 4].tolist()
    assert lines[0] == f"crop {100 * width * height / 64**2:.0f} %, {width / height:.2f} : 1"
    names = ("brightness", "contrast", "saturation", "hue")
    assert [line.split()[0] for line in lines[1:5]] == [names[i] for i in drawn.order[1, 4].tolist()]
    contrast = next(line for line in lines if line.startswith("contrast"))
    assert contrast == f"contrast × {float(drawn.factors[1, 4, 1]):.2f}"
    assert lines[5] == f"blur {float(drawn.sigma[1, 4]):.2f} px"
    assert lines[6] == f"warp up to {float(drawn.offsets[1].norm(dim=1).max()):.1f} px"


def test_what_was_not_drawn_is_not_said(pictures, generator):
    config = ViewsConfig(size=32, hue=0, contrast=0)
    drawn = codial.sample_views(pictures, config, generator).drawn
    lines = plots.describe(drawn, 0, 1, (64, 64), config)
    assert sorted(line.split()[0] for line in lines) == ["brightness", "crop", "saturation"]


def test_quarter_turns_are_counter_clockwise(pictures):
    axes = plots.quarter_turns(pictures[0]).axes
    for k in range(4):
        expected = torch.rot90(pictures[0], k, (1, 2)).float() / 255
        assert torch.equal(shown(axes[k]), expected)


def test_arrows_lead_from_control_points_to_where_the_warp_looks(pictures, generator):
    offsets = 6 * (2 * torch.rand(16, 2, generator=generator) - 1)
    left, middle, right = plots.warp_steps(pictures[0], offsets).axes
    arrows = next(item for item in left.collections if isinstance(item, Quiver))
    ends = torch.from_numpy(np.stack((arrows.X + arrows.U, arrows.Y + arrows.V), -1)).float()
    torch.testing.assert_close(ends, control_points(64).float() + offsets)
    corners = [line for line in middle.lines]
    first_row = torch.from_numpy(np.stack(corners[0].get_data(), -1)).float()
    torch.testing.assert_close(first_row[[0, 21, 42, 63]], ends[:4], atol=1e-3, rtol=0)
    expected = codial.views.warp(pictures[:1].float() / 255, offsets.unsqueeze(0))[0]
    torch.testing.assert_close(shown(right), expected, atol=0.51 / 255, rtol=0)


def test_auxiliary_transforms_go_from_end_to_end(pictures):
    figure = plots.auxiliary_transforms(pictures[0], CONFIG)
    rows = np.array(figure.axes).reshape(8, 5)
    names = ["crop: area", "crop: aspect", "mirror", "brightness", "contrast", "saturation", "hue", "blur"]
    assert [row[0].get_ylabel() for row in rows] == names
    assert [a.get_title() for a in rows[0]] == ["8 %", "31 %", "54 %", "77 %", "100 %"]
    assert [a.get_title() for a in rows[3]] == ["× 0.50", "× 0.75", "× 1.00", "× 1.25", "× 1.50"]
    assert [a.get_title() for a in rows[6]][::4] == ["-0.50 turns", "+0.50 turns"]
    whole = shown(rows[0, 4])
    assert torch.equal(shown(rows[3, 2]), whole)  # a factor of 1 changes nothing
    assert torch.equal(shown(rows[2, 1]), whole.flip(-1))
    brighter = jitter(whole.unsqueeze(0), torch.tensor([[1.5, 1, 1, 0]]), torch.arange(4).unsqueeze(0))[0]
    torch.testing.assert_close(shown(rows[3, 4]), brighter, atol=2 / 255, rtol=0)


def test_stages_show_the_picture_its_box_and_every_view(pictures):
    steps = [("crop", pictures[0]), ("blur", pictures[1])]
    first, *others = plots.stages(pictures[0], (3, 4, 20, 10), steps, ["a", "b"]).axes
    assert first.patches[0].get_bbox().bounds == (2.5, 3.5, 20, 10)
    assert [(a.get_title(), a.get_xlabel()) for a in others] == [("crop", "a"), ("blur", "b")]


def arrows(axes):
    """The control points of some axes, and where their arrows lead, [16, 2] both; None where there are none."""
    found = [item for item in axes.collections if isinstance(item, Quiver)]
    if not found:
        return None
    starts = np.stack((found[0].X, found[0].Y), -1)
    return torch.from_numpy(np.stack((starts, starts + np.stack((found[0].U, found[0].V), -1)))).float()


def test_stages_show_the_last_ones_offsets(pictures, generator):
    points, offsets = control_points(64).float(), torch.rand(16, 2, generator=generator)
    steps = [("crop", pictures[0]), ("warp", pictures[1])]
    *others, last = plots.stages(pictures[0], (3, 4, 20, 10), steps, ["a", "b"], offsets).axes
    assert [arrows(axes) for axes in others] == [None, None]
    torch.testing.assert_close(arrows(last), torch.stack((points, points + offsets)))


@pytest.mark.parametrize("placement", ["grid", "random"])
def test_a_row_shows_the_offsets_of_its_picture_on_the_warped_view_alone(pictures, generator, placement):
    config = ViewsConfig(size=32, warp_placement=placement)
    views = codial.sample_views(pictures, config, generator)
    places = np.array(new_figure(9, 3).subplots(1, 6))
    plots.view_row(places, pictures[1], views, 1, config, arrows=True)
    assert [arrows(axes) for axes in places[:-1]] == [None] * 5
    points, offsets = views.drawn.points[1], views.drawn.offsets[1]
    torch.testing.assert_close(arrows(places[-1]), torch.stack((points, points + offsets)))
