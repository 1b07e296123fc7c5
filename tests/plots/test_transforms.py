"""Figures of views and transforms, checked by their artists."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.quiver import Quiver

import codial
from codial.config import ViewsConfig
from codial.plots import transforms as plots
from codial.plots.style import new_figure
from codial.transforms import control_points, jitter

CONFIG = ViewsConfig(size=32, blur=1.0, blur_sigma=(0.5, 1.0))


@pytest.fixture
def images(photos):
    return photos["train"].batch([0, 1])


@pytest.fixture
def views(images, generator):
    return codial.sample_views(images, CONFIG, generator)


def shown(axes):
    """The image in some axes, as a tensor [3, H, W] in [0, 1]."""
    return torch.from_numpy(np.array(axes.images[0].get_array())).permute(2, 0, 1).float() / 255


def test_the_grid_shows_each_image_with_its_crops_and_views(images, views):
    axes = np.array(plots.view_grid(images, views, CONFIG).axes).reshape(2, 6)
    for row in range(2):
        boxes = [patch for patch in axes[row, 0].patches if isinstance(patch, Rectangle)]
        got = [(*box.get_xy(), box.get_width(), box.get_height()) for box in boxes]
        expected = views.params.box[row] - torch.tensor((0.5, 0.5, 0, 0))  # from the first pixel's outer corner
        assert torch.tensor(got).allclose(expected)
        for k in range(5):
            torch.testing.assert_close(shown(axes[row, k + 1]), views.images[row, k], atol=0.51 / 255, rtol=0)
            box_color, frame_color = boxes[k].get_edgecolor(), axes[row, k + 1].spines["left"].get_edgecolor()
            assert box_color == frame_color
    assert [a.get_title() for a in axes[0, 1:]] == [
        "rotation 0°",
        "rotation 90°",
        "rotation 180°",
        "rotation 270°",
        "warp",
    ]


def test_captions_list_parameters_in_the_order_of_application(views):
    drawn = views.params
    lines = plots.describe(drawn, 1, 4, (64, 64), CONFIG)
    _, _, width, height = drawn.box[1, 4].tolist()
    assert lines[0] == f"crop {100 * width * height / 64**2:.0f} %, {width / height:.2f} : 1"
    names = ("brightness", "contrast", "saturation", "hue")
    assert [line.split()[0] for line in lines[1:5]] == [names[i] for i in drawn.order[1, 4].tolist()]
    contrast = next(line for line in lines if line.startswith("contrast"))
    assert contrast == f"contrast × {float(drawn.factors[1, 4, 1]):.2f}"
    assert lines[5] == f"blur {float(drawn.sigma[1, 4]):.2f} px"
    assert lines[6] == f"warp up to {float(drawn.offsets[1].norm(dim=1).max()):.1f} px"


def test_captions_leave_out_transforms_that_are_off(images, generator):
    config = ViewsConfig(size=32, hue=0, contrast=0)
    drawn = codial.sample_views(images, config, generator).params
    lines = plots.describe(drawn, 0, 1, (64, 64), config)
    assert sorted(line.split()[0] for line in lines) == ["brightness", "crop", "saturation"]


def test_rotations_are_counter_clockwise(images):
    axes = plots.rotations(images[0]).axes
    for k in range(4):
        expected = torch.rot90(images[0], k, (1, 2)).float() / 255
        assert torch.equal(shown(axes[k]), expected)


def test_arrows_lead_from_control_points_to_where_the_warp_samples(images, generator):
    offsets = 6 * (2 * torch.rand(16, 2, generator=generator) - 1)
    left, middle, right = plots.warp_steps(images[0], offsets).axes
    arrows = next(item for item in left.collections if isinstance(item, Quiver))
    ends = torch.from_numpy(np.stack((arrows.X + arrows.U, arrows.Y + arrows.V), -1)).float()
    torch.testing.assert_close(ends, control_points(64).float() + offsets)
    corners = [line for line in middle.lines]
    first_row = torch.from_numpy(np.stack(corners[0].get_data(), -1)).float()
    torch.testing.assert_close(first_row[[0, 21, 42, 63]], ends[:4], atol=1e-3, rtol=0)
    expected = codial.transforms.warp(images[:1].float() / 255, offsets.unsqueeze(0))[0]
    torch.testing.assert_close(shown(right), expected, atol=0.51 / 255, rtol=0)


def test_auxiliary_transforms_span_their_ranges(images):
    figure = plots.auxiliary_transforms(images[0], CONFIG)
    rows = np.array(figure.axes).reshape(8, 5)
    names = ["crop: area", "crop: aspect", "flip", "brightness", "contrast", "saturation", "hue", "blur"]
    assert [row[0].get_ylabel() for row in rows] == names
    assert [a.get_title() for a in rows[0]] == ["8 %", "31 %", "54 %", "77 %", "100 %"]
    assert [a.get_title() for a in rows[3]] == ["× 0.50", "× 0.75", "× 1.00", "× 1.25", "× 1.50"]
    assert [a.get_title() for a in rows[6]][::4] == ["-0.50", "+0.50"]
    full = shown(rows[0, 4])
    assert torch.equal(shown(rows[3, 2]), full)  # a factor of 1 changes nothing
    assert torch.equal(shown(rows[2, 1]), full.flip(-1))
    brighter = jitter(full.unsqueeze(0), torch.tensor([[1.5, 1, 1, 0]]), torch.arange(4).unsqueeze(0))[0]
    torch.testing.assert_close(shown(rows[3, 4]), brighter, atol=2 / 255, rtol=0)


def test_stages_show_the_image_with_its_crop_box_and_every_view(images):
    steps = [("crop", images[0]), ("blur", images[1])]
    first, *others = plots.stages(images[0], (3, 4, 20, 10), steps, ["a", "b"]).axes
    assert first.patches[0].get_bbox().bounds == (2.5, 3.5, 20, 10)
    assert [(a.get_title(), a.get_xlabel()) for a in others] == [("crop", "a"), ("blur", "b")]


def arrows(axes):
    """Control points and the ends of their arrows, [2, 16, 2]; None if there are none."""
    found = [item for item in axes.collections if isinstance(item, Quiver)]
    if not found:
        return None
    starts = np.stack((found[0].X, found[0].Y), -1)
    return torch.from_numpy(np.stack((starts, starts + np.stack((found[0].U, found[0].V), -1)))).float()


def test_stages_show_the_offsets_of_the_last_one(images, generator):
    points, offsets = control_points(64).float(), torch.rand(16, 2, generator=generator)
    steps = [("crop", images[0]), ("warp", images[1])]
    *others, last = plots.stages(images[0], (3, 4, 20, 10), steps, ["a", "b"], offsets).axes
    assert [arrows(axes) for axes in others] == [None, None]
    torch.testing.assert_close(arrows(last), torch.stack((points, points + offsets)))


@pytest.mark.parametrize("placement", ["grid", "random"])
def test_a_row_shows_its_images_offsets_on_the_warped_view_only(images, generator, placement):
    config = ViewsConfig(size=32, warp_placement=placement)
    views = codial.sample_views(images, config, generator)
    cells = np.array(new_figure(9, 3).subplots(1, 6))
    plots.view_row(cells, images[1], views, 1, config, arrows=True)
    assert [arrows(axes) for axes in cells[:-1]] == [None] * 5
    points, offsets = views.params.points[1], views.params.offsets[1]
    torch.testing.assert_close(arrows(cells[-1]), torch.stack((points, points + offsets)))
