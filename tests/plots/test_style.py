import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from codial.plots import style


def test_a_figure_has_its_size_in_inches_and_a_png_its_dots():
    figure = style.new_figure(4, 2.5)
    assert figure.get_size_inches().tolist() == [4, 2.5]
    assert Image.open(io.BytesIO(style.png(figure, dpi=60))).size == (240, 150)


def test_a_figure_is_white_in_dark_themes_too():
    image = Image.open(io.BytesIO(style.png(style.new_figure(1, 1))))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_many_threads_render_the_same_bytes():
    def render(_):
        figure, axes = style.subplots(3, 2)
        axes[0, 0].plot([0, 1], [1e-3, 1])
        axes[0, 0].set(yscale="log", title="$\\beta$")
        return style.png(figure)

    alone = render(0)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(render, range(6))) == {alone}


def test_pictures_are_shown_with_a_pixel_a_unit(photos):
    picture = photos["train"].images[0]
    figure = style.new_figure(1, 1)
    axes = style.show_picture(figure.subplots(), picture, "a title")
    assert (axes.images[0].get_array() == picture.permute(1, 2, 0).numpy()).all()
    assert axes.images[0].get_extent() == [-0.5, 63.5, 63.5, -0.5]
    assert axes.get_title() == "a title"


def test_floats_become_bytes_and_stay_within_them():
    floats = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2, 254.4 / 255]).view(1, 2, 3).expand(3, 2, 3)
    assert style.pixels(floats)[..., 0].ravel().tolist() == [0, 0, 128, 255, 255, 254]


def test_axes_left_over_are_empty(photos):
    axes = style.new_figure(3, 1).subplots(1, 3)
    style.show_pictures(axes, photos["train"].images[:2], ["one"])
    assert [a.axison for a in axes] == [True, True, False]
    assert [a.get_title() for a in axes] == ["one", "", ""]


def test_a_frame_has_its_colour():
    axes = style.new_figure(1, 1).subplots()
    style.frame(style.picture_axes(axes), style.COLOURS["right"])
    assert all(spine.get_visible() for spine in axes.spines.values())


@pytest.mark.parametrize("name", ["codial", "random", "supervised", "loss_transform", "mi_js", "skl", "beta", "chance"])
def test_names_that_figures_share_have_a_colour(name):
    assert re.fullmatch(r"#[0-9A-F]{6}", style.COLOURS[name])


def test_systems_can_be_told_apart_without_seeing_red_or_green():
    names = ("codial", "random", "supervised", "rotnet", "decouple", "globstat")
    for one, other in combinations([style.COLOURS[name] for name in names], 2):
        assert abs(blueness(one) - blueness(other)) > 0.25 or abs(luminance(one) - luminance(other)) > 0.1


def blueness(colour):
    """Return where #RRGGBB lies between yellow, -1, and blue, 1."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return blue - (red + green) / 2


def luminance(colour):
    """Return the relative luminance of #RRGGBB (WCAG 2)."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
