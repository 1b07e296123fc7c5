import io
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from codial.plots import style


def test_sizes_are_in_inches_and_pixels():
    figure = style.new_figure(4, 2.5)
    assert figure.get_size_inches().tolist() == [4, 2.5]
    assert Image.open(io.BytesIO(style.png(figure, dpi=60))).size == (240, 150)


def test_figures_have_a_white_background():
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


def test_a_pixel_is_one_unit_of_the_axes(photos):
    image = photos["train"].images[0]
    figure = style.new_figure(1, 1)
    axes = style.show_image(figure.subplots(), image, "a title")
    assert (axes.images[0].get_array() == image.permute(1, 2, 0).numpy()).all()
    assert axes.images[0].get_extent() == [-0.5, 63.5, 63.5, -0.5]
    assert axes.get_title() == "a title"


def test_floats_are_clamped_and_rounded_to_uint8():
    floats = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2, 254.4 / 255]).view(1, 2, 3).expand(3, 2, 3)
    assert style.pixels(floats)[..., 0].ravel().tolist() == [0, 0, 128, 255, 255, 254]


def test_remaining_axes_are_hidden(photos):
    axes = style.new_figure(3, 1).subplots(1, 3)
    style.show_images(axes, photos["train"].images[:2], ["one"])
    assert [a.axison for a in axes] == [True, True, False]
    assert [a.get_title() for a in axes] == ["one", "", ""]


# Machado, Oliveira and Fernandes (2009), severity 1: linear sRGB with one kind of cone missing.
VISION = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TO_XYZ = np.array(
    [(0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)]
)


def linear(color):
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(color, vision="all cones"):
    """Return #RRGGBB in CIELAB (white point of sRGB) as seen with a color vision."""
    seen = np.clip(np.array(VISION[vision]) @ linear(color), 0, 1)
    part = (TO_XYZ @ seen) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(part > (6 / 29) ** 3, np.cbrt(part), part / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one, other, vision):
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def test_the_reference_implementation_is_right():
    assert lab("#FF0000") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert lab("#0000FF") == pytest.approx([32.30, 79.19, -107.86], abs=0.02)
    assert distance("#FF0000", "#00A000", "deuteranopia") < distance("#FF0000", "#00A000", "all cones") / 2


@pytest.mark.parametrize("vision", VISION)
def test_colors_are_distinct_from_each_other_and_from_white_with_any_color_vision(vision):
    colors = {*style.PALETTE, *style.COLORS.values(), style.GRAY}
    nearest = min((distance(one, other, vision), one, other) for one, other in combinations(sorted(colors), 2))
    assert nearest[0] >= 15, nearest
    faintest = min((distance(color, "#FFFFFF", vision), color) for color in colors)
    assert faintest[0] >= 35, faintest


def test_text_has_the_better_contrast_on_every_color():
    def contrast(one, other):  # WCAG 2
        light, dark = sorted((float(TO_XYZ[1] @ linear(each)) + 0.05 for each in (one, other)), reverse=True)
        return light / dark

    texts = {"black": "#000000", "white": "#FFFFFF"}
    for color in {*style.PALETTE, *style.COLORS.values()}:
        best = max(contrast(color, each) for each in texts.values())
        assert contrast(color, texts[style.text_color(color)]) == best >= 4.5, color
