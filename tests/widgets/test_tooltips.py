import io
import re

import pytest
from PIL import Image

from codial.plots.style import subplots
from codial.plots.tooltips import Tooltip, set_tooltips
from codial.widgets import display, show
from codial.widgets.tooltips import figure_html

TOOLTIPS = [
    Tooltip(0.1, 0.2, 0.1, 0.6, "a, conv1: 88.3 ± 0.2"),
    Tooltip(0.14, 0.5, 0.02, 0.02, "a < b & c"),
    Tooltip(0.9, 0.2, 0.1, 0.6, "last"),
]


@pytest.fixture
def page(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, raw=False: shown.append(bundle))
    return shown


def labels(html):
    return re.findall(r"<label .*?</label>", html)


def test_tooltips_are_radio_buttons_of_one_group():
    found = labels(figure_html(b"png", TOOLTIPS))
    assert len(found) == 3
    assert len({re.search(r'name="(.*?)"', label)[1] for label in found}) == 1
    assert [re.search(r'aria-label="(.*?)"', label)[1] for label in found] == [
        "a, conv1: 88.3 ± 0.2",
        "a &lt; b &amp; c",
        "last",
    ]
    assert "left: 10.00%; top: 20.00%; width: 10.00%; height: 60.00%" in found[0]
    assert all('data-lm-suppress-shortcuts="true"' in label for label in found), (
        "otherwise JupyterLab handles the arrow keys"
    )


def test_figures_have_distinct_groups():
    one, two = (re.search(r'name="(.*?)"', figure_html(b"png", TOOLTIPS))[1] for _ in range(2))
    assert one != two


def test_without_its_style_sheet_only_the_image_is_left():
    html = re.sub(r"<style>.*?</style>", "", figure_html(b"png", TOOLTIPS), flags=re.DOTALL)
    assert re.sub(r"<[^>]*>", "", html) == "", "no text outside of attributes"


def test_a_figure_with_tooltips_is_also_stored_as_png(page):
    figure, axes = subplots(2, 2)
    (bar,) = axes[0, 0].bar([0], [1])
    set_tooltips(bar, "one")
    show(figure)
    (bundle,) = page
    assert list(bundle) == ["text/html", "image/png", "text/plain"]
    assert f"base64,{bundle['image/png']}" in bundle["text/html"]
    assert bundle["text/plain"] == "<IPython.core.display.Image object>"


def test_a_figure_without_tooltips_is_a_png(page):
    show(subplots(2, 2)[0])
    (shown,) = page
    assert Image.open(io.BytesIO(shown.data)).size == (220, 220)
