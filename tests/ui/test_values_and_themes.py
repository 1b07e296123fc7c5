"""Figures that tell their values, and a walk that is saved, by hand; light and dark."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import codial

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
OPEN = "[...document.querySelectorAll('.codial-values span')].filter(e => e.offsetParent)"
TOLD = f"() => {OPEN}.map(e => e.dataset.words)"
WITHIN = f"""() => {OPEN}.every(e => {{
    const box = e.getBoundingClientRect(), edge = e.closest('.codial-values').getBoundingClientRect();
    return box.left >= edge.left && box.right <= edge.right && box.top >= edge.top;
}})"""
SHRUNK = "() => [...document.querySelectorAll('.codial-values img')].some(e => e.clientWidth < e.naturalWidth)"


@pytest.fixture(scope="module")
def runs(tiny, few, tmp_path_factory):
    """Folders of two small runs."""
    folder = tmp_path_factory.mktemp("runs")
    for place, name in enumerate(("random", "codial")):
        codial.pretrain(replace(tiny, name=f"{name}/tiny", seed=place), folder / name, images=few, progress=False)
    return ", ".join(str(folder / name) for name in ("random", "codial"))


@pytest.fixture
def dark(browser, lab):
    """JupyterLab's dark theme, for the time of a test."""
    address, context = lab("lab/api/settings/@jupyterlab/apputils-extension:themes"), browser.new_context()
    put = lambda name: context.request.put(address, data=json.dumps({"raw": f'{{"theme": "JupyterLab {name}"}}'}))  # noqa: E731
    assert put("Dark").ok
    yield
    put("Light")
    context.close()


def test_04_bars_tell_their_values_by_mouse_and_by_keyboard(notebook, runs):
    opened = notebook(NOTEBOOKS / "04_linear_probes.ipynb", {"runs": runs, "pictures": 200, "probe_epochs": 2})
    opened.run_all()
    assert opened.errors == []
    assert opened.cut_off() == []
    assert not opened.page.evaluate(SHRUNK), "the page has room for the figures"
    told = lambda: opened.page.evaluate(TOLD)  # noqa: E731
    spots = opened.cell("these runs").locator(".codial-values input")
    every = opened.values(".codial-values input", "aria-label")
    assert spots.count() == 2 * 2 * 5, "a bar and a mark of the paper's for each layer of each run"
    assert told() == []
    spots.nth(0).hover(position={"x": 4, "y": 40})
    assert told() == [every[0]]
    opened.screenshot("04-mouse")
    opened.page.mouse.move(5, 5)
    assert told() == []
    spots.nth(0).focus()
    for place in (1, 2, 3):
        opened.page.keyboard.press("ArrowRight")
        assert told() == [every[place]]
    opened.page.keyboard.press("ArrowLeft")
    assert told() == [every[2]]
    opened.screenshot("04-keys")
    last = opened.cell("probed(shelf").locator(".codial-values input")
    for place in (0, 49, last.count() - 1):
        last.nth(place).focus()
        assert len(told()) == 1
        assert opened.page.evaluate(WITHIN)
    opened.screenshot("04-published")


def test_07_published_runs_tell_their_spread(notebook):
    pattern = "results/cifar10*/random, results/cifar10*/codial, results/cifar10/codial-[cmp][liar]*"
    opened = notebook(NOTEBOOKS / "07_ablations.ipynb", {"published": pattern, "source": "cifar10"})
    opened.run_all()
    assert opened.errors == []
    assert opened.cut_off() == []
    assert not opened.page.evaluate(SHRUNK)
    every = opened.values(".codial-values input", "aria-label")
    assert any(re.fullmatch(r"codial/cifar10, conv5: \+\d\.\d ± 0\.\d \(3 runs\)", words) for words in every)
    assert any(re.fullmatch(r"conv1, 1 pair: \d\d\.\d % \(one run\)", words) for words in every)
    assert "codial-cls, conv1: +9.4 in the paper, on STL-10" in every
    for source, name in (("pair_curves(by", "conv2, 1 pair"), ("gain_bars(found", "codial/cifar10, conv5")):
        spot = opened.cell(source).locator(f'.codial-values input[aria-label^="{name}"]')
        spot.hover()
        assert opened.page.evaluate(TOLD) == [spot.get_attribute("aria-label")]
        opened.screenshot(f"07-{source[:4]}")


def test_05_in_the_dark_a_picture_is_chosen_and_the_walk_saved(notebook, runs, dark, tmp_path):
    opened = notebook(NOTEBOOKS / "05_retrieval.ipynb", {"runs": runs, "pictures": 400, "layer": "conv2", "k": 6})
    opened.run_all()
    assert opened.errors == []
    assert opened.page.evaluate("() => document.body.dataset.jpThemeLight") == "false"
    cell = opened.cell("browser.show()")
    before = opened.values(".codial-tile", "title")
    cell.locator(".codial-thumb").nth(3).click()
    opened.wait_for(".codial-query img", "alt", ["picture 3"])
    opened.wait_for(".codial-tile", "title", before, other=True)
    first, other = (cell.locator(".codial-tile").nth(place).bounding_box() for place in (0, 6))
    assert first["y"] == other["y"], "the runs stand side by side"
    assert first["x"] + first["width"] < other["x"]
    file = cell.get_by_label("file")
    file.fill(str(tmp_path / "walk.pdf"))
    cell.get_by_role("button", name="save").press("Enter")
    cell.get_by_text("Wrote").wait_for()
    assert (tmp_path / "walk.pdf").read_bytes().startswith(b"%PDF")
    opened.screenshot("05-dark")
    assert opened.cut_off() == []
