import io
import re

import pytest
from PIL import Image

from codial.plots.hover import Spot, tell
from codial.plots.style import subplots
from codial.widgets import display, show
from codial.widgets.values import values

SPOTS = [
    Spot(0.1, 0.2, 0.1, 0.6, "a, conv1: 88.3 ± 0.2"),
    Spot(0.14, 0.5, 0.02, 0.02, "a < b & c"),
    Spot(0.9, 0.2, 0.1, 0.6, "last"),
]


@pytest.fixture
def page(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, raw=False: shown.append(bundle))
    return shown


def labels(html):
    return re.findall(r"<label .*?</label>", html)


def test_every_spot_is_a_button_of_one_group_with_its_words_and_place():
    found = labels(values(b"png", SPOTS))
    assert len(found) == 3
    assert len({re.search(r'name="(.*?)"', label)[1] for label in found}) == 1
    assert [re.search(r'aria-label="(.*?)"', label)[1] for label in found] == [
        "a, conv1: 88.3 ± 0.2",
        "a &lt; b &amp; c",
        "last",
    ]
    assert "left: 10.00%; top: 20.00%; width: 10.00%; height: 60.00%" in found[0]
    assert all('data-lm-suppress-shortcuts="true"' in label for label in found), "else JupyterLab takes the arrow keys"


def test_marks_lie_over_bars_and_words_open_into_the_picture():
    found = labels(values(b"png", SPOTS))
    assert [re.search(r"z-index: (\d)", label)[1] for label in found] == ["1", "2", "1"]
    assert ["right: 0" in label for label in found] == [False, False, True]


def test_two_figures_are_two_groups():
    one, two = (re.search(r'name="(.*?)"', values(b"png", SPOTS))[1] for _ in range(2))
    assert one != two


def test_without_style_sheets_and_attributes_nothing_but_the_picture_is_left():
    html = re.sub(r"<style>.*?</style>", "", values(b"png", SPOTS), flags=re.DOTALL)
    assert re.sub(r"<[^>]*>", "", html) == "", "no words outside of attributes"


def test_a_figure_with_words_is_stored_as_a_picture_too(page):
    figure, axes = subplots(2, 2)
    (bar,) = axes[0, 0].bar([0], [1])
    tell(bar, "one")
    show(figure)
    (bundle,) = page
    assert list(bundle) == ["text/html", "image/png", "text/plain"]
    assert f"base64,{bundle['image/png']}" in bundle["text/html"]
    assert bundle["text/plain"] == "<IPython.core.display.Image object>"


def test_a_figure_without_words_is_a_picture(page):
    show(subplots(2, 2)[0])
    (shown,) = page
    assert Image.open(io.BytesIO(shown.data)).size == (220, 220)
