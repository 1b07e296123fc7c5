"""Where marks are in a figure's picture, and figures in files."""

import io

import numpy as np
import pytest
from PIL import Image

from codial.errors import CodialError
from codial.plots.hover import tell, with_spots
from codial.plots.saving import save
from codial.plots.style import new_figure, subplots


@pytest.fixture
def figure():
    figure, axes = subplots(4, 3)
    bars = axes[0, 0].bar([0, 1], [5, -3], color=["#FF0000", "#00FF00"])
    (line,) = axes[0, 0].plot([0.5, 1], [1, 2], "s", color="#0000FF", markersize=8)
    for bar, words in zip(bars, ("high", "low"), strict=True):
        tell(bar, words)
    tell(line, "first", "second")
    return figure


def pixels_of(picture, spot):
    """The pixels of a picture, [h, w, 3], that a spot covers, less a pixel of its edge."""
    image = np.asarray(Image.open(io.BytesIO(picture)))
    height, width = image.shape[:2]
    left, top = spot.left * width, spot.top * height
    right, bottom = left + spot.width * width, top + spot.height * height
    return image[round(top) + 1 : round(bottom) - 1, round(left) + 1 : round(right) - 1]


def test_spots_lie_over_their_marks_in_the_picture_from_left_to_right(figure):
    picture, spots = with_spots(figure)
    found = {spot.words: pixels_of(picture, spot) for spot in spots}
    assert [spot.words for spot in spots] == ["high", "first", "low", "second"]
    assert (found["high"] == (255, 0, 0)).all()
    assert (found["low"] == (0, 255, 0)).all(-1).mean() > 0.9
    for name in ("first", "second"):
        assert (found[name] == (0, 0, 255)).all(-1).mean() > 0.7


def test_a_bar_without_height_can_still_be_pointed_at():
    figure = new_figure(2, 2)
    (bar,) = figure.subplots().bar([0], [0])
    tell(bar, "nothing")
    _, (spot,) = with_spots(figure)
    assert spot.height * 2 * figure.dpi >= 10


def test_a_figure_without_words_has_no_spots():
    figure, axes = subplots(2, 2)
    axes[0, 0].plot([0, 1], gid="right")
    assert with_spots(figure)[1] == []


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_a_file_is_what_its_ending_says_and_none_is_replaced(figure, tmp_path, name, head):
    paths = [save(figure, tmp_path / "deep" / name) for _ in range(3)]
    assert [path.stem for path in paths] == ["a", "a-2", "a-3"]
    assert all(path.read_bytes().startswith(head) for path in paths)
    assert len(list((tmp_path / "deep").iterdir())) == 3


@pytest.mark.parametrize("name", ["a.jpg", "a", ""])
def test_other_endings_are_refused(figure, tmp_path, name):
    with pytest.raises(CodialError, match=r"expected one that ends in \.png or \.pdf"):
        save(figure, tmp_path / name)


def test_a_folder_that_cannot_be_made_is_told_of(figure, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CodialError, match=r"can't be written: .*Choose a file in a folder of yours"):
        save(figure, tmp_path / "taken/a.png")
