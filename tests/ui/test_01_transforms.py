"""The transform explorer of notebook 01 in JupyterLab, by mouse and keyboard."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from codial.config import ViewsConfig

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/01_transforms.ipynb"
IMAGES = ("img", "src")


@pytest.fixture(scope="module")
def transforms(shared_notebook, tiny_run):
    """Notebook 01; each test leaves the settings as they were."""
    opened = shared_notebook(NOTEBOOK, {"size": 32, "run": str(tiny_run.folder)})
    opened.run_all()
    opened.explorer = opened.cell("explorer.show()")
    return opened


def changed_by(opened, act):
    """Act, wait until images change, and return how many have changed."""
    before = opened.values(*IMAGES)
    act()
    opened.wait_for(*IMAGES, before, other=True)
    return sum(a != b for a, b in zip(before, opened.values(*IMAGES), strict=True))


def test_sliders_seed_and_checkboxes_change_the_views(transforms):
    opened, explorer = transforms, transforms.explorer
    assert opened.errors == []
    assert all(re.search(r"\[\d+\]", prompt) for prompt in opened.prompts)
    assert opened.cut_off() == []
    opened.screenshot("01-sampled")
    text = explorer.get_by_label("copy as config")
    assert text.input_value().startswith("# No changes")

    slider = explorer.locator(".widget-hslider", has_text="warp offset").locator(".noUi-handle")
    slider.focus()
    assert changed_by(opened, lambda: slider.press("PageUp")) == 1
    opened.page.wait_for_function("() => document.querySelector('textarea[readonly]').value.includes('--set')")
    shell, python = text.input_value().splitlines()
    changed = float(shell.removeprefix("--set views.warp_offset="))
    assert changed > ViewsConfig().warp_offset
    assert python == f"replace(config.views, warp_offset={changed})"

    assert changed_by(opened, explorer.get_by_role("button", name="resample").click) == 1
    assert explorer.get_by_label("seed").input_value() == "1"
    assert changed_by(opened, lambda: explorer.get_by_label("rotation 0°", exact=True).press("Space")) == 1
    opened.screenshot("01-changed")
    assert opened.cut_off() == []
    assert changed_by(opened, explorer.get_by_role("button", name="reset").click) == 1
    opened.page.wait_for_function("() => document.querySelector('textarea[readonly]').value.includes('No changes')")


def test_the_text_can_be_copied_by_keyboard(transforms):
    opened = transforms
    opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    assert changed_by(opened, lambda: opened.explorer.get_by_label("shared crop").press("Space")) == 1
    opened.page.wait_for_function("() => document.querySelector('textarea[readonly]').value.includes('--set')")
    opened.explorer.get_by_label("warp border").focus()
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Control+c")
    copied = opened.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == "--set views.shared_crop=True\nreplace(config.views, shared_crop=True)"
    assert len(opened.prompts) == opened.cells.count(), "no key reached the notebook"
    assert changed_by(opened, opened.explorer.get_by_role("button", name="reset").click) == 1


def test_a_file_can_be_uploaded_and_a_damaged_one_shows_an_error(transforms):
    opened, explorer = transforms, transforms.explorer
    red = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(red, "png")

    def give(name, content):
        with opened.page.expect_file_chooser() as chooser:
            explorer.get_by_role("button", name="your own file").press("Enter")
        chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})

    assert changed_by(opened, lambda: give("red.png", red.getvalue())) == 1
    assert explorer.get_by_label("images").input_value() == "red.png"
    opened.screenshot("01-file")
    before = opened.values(*IMAGES)
    give("broken.png", red.getvalue()[:60])
    explorer.get_by_text("broken.png could not be decoded").wait_for()
    assert opened.values(*IMAGES) == before
    opened.screenshot("01-broken")
    source = explorer.get_by_label("images")
    source.fill("photos")
    assert changed_by(opened, lambda: source.press("Enter")) == 1


def test_a_manual_view(transforms):
    opened, explorer = transforms, transforms.explorer
    assert changed_by(opened, explorer.get_by_role("button", name="one view, with manual parameters").click) == 1
    slider = explorer.locator(".widget-hslider", has_text="area").locator(".noUi-handle")
    slider.focus()
    assert changed_by(opened, lambda: slider.press("PageDown")) == 1
    opened.screenshot("01-manual")
    assert opened.cut_off() == []
