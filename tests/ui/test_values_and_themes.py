"""Tooltips of figures, and saving a figure, in light and dark themes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import codial

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
OPEN = "[...document.querySelectorAll('.codial-values span')].filter(e => e.offsetParent)"
TOOLTIPS = f"() => {OPEN}.map(e => e.dataset.text)"
WITHIN = f"""() => {OPEN}.every(e => {{
    const box = e.getBoundingClientRect(), edge = e.closest('.codial-values').getBoundingClientRect();
    return box.left >= edge.left && box.right <= edge.right && box.top >= edge.top;
}})"""
SHRUNK = "() => [...document.querySelectorAll('.codial-values img')].some(e => e.clientWidth < e.naturalWidth)"


@pytest.fixture(scope="module")
def runs(tiny, few, tmp_path_factory):
    """Folders of two small runs."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("random", "codial")):
        codial.pretrain(replace(tiny, name=f"{name}/tiny", seed=seed), folder / name, images=few, progress=False)
    return ", ".join(str(folder / name) for name in ("random", "codial"))


@pytest.fixture
def dark(browser, lab):
    """JupyterLab's dark theme, during a test."""
    address, context = lab("lab/api/settings/@jupyterlab/apputils-extension:themes"), browser.new_context()
    put = lambda name: context.request.put(address, data=json.dumps({"raw": f'{{"theme": "JupyterLab {name}"}}'}))  # noqa: E731
    assert put("Dark").ok
    yield
    put("Light")
    context.close()


def test_04_bars_have_tooltips_by_mouse_and_keyboard(notebook, runs):
    opened = notebook(NOTEBOOKS / "04_linear_probes.ipynb", {"runs": runs, "images": 200, "probe_epochs": 2})
    opened.run_all()
    assert opened.errors == []
    assert opened.cut_off() == []
    assert not opened.page.evaluate(SHRUNK), "the page has room for the figures"
    tooltips = lambda: opened.page.evaluate(TOOLTIPS)  # noqa: E731
    buttons = opened.cell("these runs").locator(".codial-values input")
    labels = opened.values(".codial-values input", "aria-label")
    assert buttons.count() == 2 * 2 * 5, "a bar and a marker per layer and run"
    assert tooltips() == []
    buttons.nth(0).hover(position={"x": 4, "y": 40})
    assert tooltips() == [labels[0]]
    opened.screenshot("04-mouse")
    opened.page.mouse.move(5, 5)
    assert tooltips() == []
    buttons.nth(0).focus()
    for index in (1, 2, 3):
        opened.page.keyboard.press("ArrowRight")
        assert tooltips() == [labels[index]]
    opened.page.keyboard.press("ArrowLeft")
    assert tooltips() == [labels[2]]
    opened.screenshot("04-keys")
    last = opened.cell("probe_reports(published_runs").locator(".codial-values input")
    for index in (0, 49, last.count() - 1):
        last.nth(index).focus()
        assert len(tooltips()) == 1
        assert opened.page.evaluate(WITHIN)
    opened.screenshot("04-published")


def test_07_tooltips_of_published_runs_have_a_std(notebook):
    pattern = "results/cifar10*/random, results/cifar10*/codial, results/cifar10/codial-[cmp][liar]*"
    opened = notebook(NOTEBOOKS / "07_ablations.ipynb", {"published": pattern, "source": "cifar10"})
    opened.run_all()
    assert opened.errors == []
    assert opened.cut_off() == []
    assert not opened.page.evaluate(SHRUNK)
    labels = opened.values(".codial-values input", "aria-label")
    assert any(re.fullmatch(r"codial/cifar10, conv5: \+\d\.\d ± 0\.\d \(3 runs\)", label) for label in labels)
    assert any(re.fullmatch(r"conv1, 1 pair: \d\d\.\d % \(one run\)", label) for label in labels)
    assert "codial-cls, conv1: +9.4 in the paper, on STL-10" in labels
    for source, name in (("pair_curves(accuracy", "conv2, 1 pair"), ("gain_bars(gains,", "codial/cifar10, conv5")):
        button = opened.cell(source).locator(f'.codial-values input[aria-label^="{name}"]')
        button.hover()
        assert opened.page.evaluate(TOOLTIPS) == [button.get_attribute("aria-label")]
        opened.screenshot(f"07-{source[:4]}")


def test_05_in_the_dark_theme_an_image_is_selected_and_the_figure_saved(notebook, runs, dark, tmp_path):
    opened = notebook(NOTEBOOKS / "05_retrieval.ipynb", {"runs": runs, "images": 400, "layer": "conv2", "k": 6})
    opened.run_all()
    assert opened.errors == []
    assert opened.page.evaluate("() => document.body.dataset.jpThemeLight") == "false"
    cell = opened.cell("browser.show()")
    before = opened.values(".codial-tile", "title")
    cell.locator(".codial-thumb").nth(3).click()
    opened.wait_for(".codial-query img", "alt", ["image 3"])
    opened.wait_for(".codial-tile", "title", before, other=True)
    first, other = (cell.locator(".codial-tile").nth(index).bounding_box() for index in (0, 6))
    assert first["y"] == other["y"], "the runs stand side by side"
    assert first["x"] + first["width"] < other["x"]
    file = cell.get_by_label("file")
    file.fill(str(tmp_path / "walk.pdf"))
    cell.get_by_role("button", name="save").press("Enter")
    cell.get_by_text("Wrote").wait_for()
    assert (tmp_path / "walk.pdf").read_bytes().startswith(b"%PDF")
    opened.screenshot("05-dark")
    assert opened.cut_off() == []
