"""The README's picture: the transform explorer of notebook 01 with its defaults. `make picture` keeps it."""

from pathlib import Path

import pytest
from PIL import Image

pytestmark = [pytest.mark.ui, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[2]


def test_the_workbench_as_the_readme_shows_it(notebook):
    opened = notebook(PROJECT / "notebooks/01_transforms.ipynb")
    opened.run_all()
    assert opened.errors == []
    opened.page.keyboard.press("Control+b")  # closes the list of files
    explorer = opened.cell("explorer.show()").locator(".jp-OutputArea")
    explorer.evaluate("output => output.scrollIntoView()")
    opened.screenshot("workbench")
    with Image.open(PROJECT / "runs/ui/workbench.png") as picture:
        assert picture.size == (1280, 800)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 5000, "no photographs are shown"
