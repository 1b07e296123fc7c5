"""Tooltips in a figure's PNG, and saving figures."""

import io

import numpy as np
import pytest
from PIL import Image

from codial.errors import CodialError
from codial.plots.save import save
from codial.plots.style import new_figure, subplots
from codial.plots.tooltips import png_with_tooltips, set_tooltips


@pytest.fixture
def figure():
    figure, axes = subplots(4, 3)
    bars = axes[0, 0].bar([0, 1], [5, -3], color=["#FF0000", "#00FF00"])
    (line,) = axes[0, 0].plot([0.5, 1], [1, 2], "s", color="#0000FF", markersize=8)
    for bar, text in zip(bars, ("high", "low"), strict=True):
        set_tooltips(bar, text)
    set_tooltips(line, "first", "second")
    return figure


def pixels_of(original, tooltip):
    """The pixels of an image, [h, w, 3], under a tooltip, without its outermost pixels."""
    image = np.asarray(Image.open(io.BytesIO(original)))
    height, width = image.shape[:2]
    left, top = tooltip.left * width, tooltip.top * height
    right, bottom = left + tooltip.width * width, top + tooltip.height * height
    return image[round(top) + 1 : round(bottom) - 1, round(left) + 1 : round(right) - 1]


def test_tooltips_lie_over_their_marks_from_left_to_right(figure):
    image, tooltips = png_with_tooltips(figure)
    found = {tooltip.text: pixels_of(image, tooltip) for tooltip in tooltips}
    assert [tooltip.text for tooltip in tooltips] == ["high", "first", "low", "second"]
    assert (found["high"] == (255, 0, 0)).all()
    assert (found["low"] == (0, 255, 0)).all(-1).mean() > 0.9
    for name in ("first", "second"):
        assert (found[name] == (0, 0, 255)).all(-1).mean() > 0.7


def test_a_bar_of_height_0_has_a_tooltip():
    figure = new_figure(2, 2)
    (bar,) = figure.subplots().bar([0], [0])
    set_tooltips(bar, "nothing")
    _, (tooltip,) = png_with_tooltips(figure)
    assert tooltip.height * 2 * figure.dpi >= 10


def test_a_figure_without_tooltips():
    figure, axes = subplots(2, 2)
    axes[0, 0].plot([0, 1], gid="right")
    assert png_with_tooltips(figure)[1] == []


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_the_suffix_gives_the_format_and_no_file_is_replaced(figure, tmp_path, name, head):
    paths = [save(figure, tmp_path / "deep" / name) for _ in range(3)]
    assert [path.stem for path in paths] == ["a", "a-2", "a-3"]
    assert all(path.read_bytes().startswith(head) for path in paths)
    assert len(list((tmp_path / "deep").iterdir())) == 3


@pytest.mark.parametrize("name", ["a.jpg", "a", ""])
def test_other_suffixes_are_refused(figure, tmp_path, name):
    with pytest.raises(CodialError, match=r"expected a name that ends in \.png or \.pdf"):
        save(figure, tmp_path / name)


def test_a_folder_that_cannot_be_created_is_named(figure, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CodialError, match=r"cannot be written: .*Choose a file in a folder that you may write to"):
        save(figure, tmp_path / "taken/a.png")
