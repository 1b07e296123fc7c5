"""Notebooks in JupyterLab in a real browser."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

import codial

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))}
NEIGHBORS, QUERY = (".codial-tile", "title"), (".codial-query img", "alt")
RUN_ALL = os.environ.get("CODIAL_UI_ALL") == "1"  # also the other notebooks, which train runs first


@pytest.fixture(scope="module")
def runs(tiny, few, tmp_path_factory):
    """Folders of three small runs that notebook 05 compares in seconds."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("random", "supervised", "codial")):
        config = replace(tiny, name=f"{name}/tiny", seed=seed)
        codial.pretrain(config, folder / name, images=few, progress=False)
    return ", ".join(str(folder / name) for name in ("random", "supervised", "codial"))


@pytest.fixture
def retrieval(notebook, runs):
    opened = notebook(NOTEBOOKS["05_retrieval"], {"runs": runs, "images": 400, "layer": "conv2"})
    opened.run_all()
    return opened


def assert_ran(opened):
    assert opened.errors == []
    assert all(re.search(r"\[\d+\]", prompt) for prompt in opened.prompts)
    assert opened.cut_off() == []


def test_an_error_is_detected(notebook, runs):
    opened = notebook(NOTEBOOKS["05_retrieval"], {"runs": runs, "images": 400, "layer": "fc9"})
    opened.run_all()
    assert "fc9" in opened.errors[0]
    assert not all(re.search(r"\[\d+\]", prompt) for prompt in opened.prompts)


def test_05_queries_are_selected_by_mouse_and_keyboard(retrieval):
    assert_ran(retrieval)
    cell = retrieval.cell("browser.show()")
    tiles, first = cell.locator(".codial-tile"), retrieval.values(*NEIGHBORS)
    retrieval.screenshot("05-before")
    assert len(first) == 3 * 7
    tiles.nth(8).click()
    retrieval.wait_for(*NEIGHBORS, first, other=True)
    retrieval.wait_for(*QUERY, [first[8].split(",")[0]])
    second = retrieval.values(*NEIGHBORS)
    tiles.nth(2).focus()
    tiles.nth(2).press("Enter")
    retrieval.wait_for(*QUERY, [second[2].split(",")[0]])
    retrieval.wait_for(*NEIGHBORS, second, other=True)
    retrieval.screenshot("05-after")
    assert retrieval.cut_off() == []
    for neighbors in (second, first):
        cell.get_by_role("button", name="back").press("Enter")
        retrieval.wait_for(*NEIGHBORS, neighbors)


@pytest.mark.skipif(not RUN_ALL, reason="set CODIAL_UI_ALL=1 to run them in JupyterLab as well as by nbval")
@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_runs_without_an_error(name, notebook):
    opened = notebook(NOTEBOOKS[name])
    opened.run_all(seconds=1800)
    opened.screenshot(name)
    assert_ran(opened)
