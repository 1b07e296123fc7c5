"""Notebooks in JupyterLab, run and touched in a real browser."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

import codial

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))}
NEIGHBOURS, QUERY = (".codial-tile", "title"), (".codial-query img", "alt")
EVERY = os.environ.get("CODIAL_UI_ALL") == "1"  # the others, too: what they need is trained first


@pytest.fixture(scope="module")
def runs(tiny, few, tmp_path_factory):
    """Folders of three small runs, which notebook 05 compares in seconds."""
    folder = tmp_path_factory.mktemp("runs")
    for place, name in enumerate(("random", "supervised", "codial")):
        config = replace(tiny, name=f"{name}/tiny", seed=place)
        codial.pretrain(config, folder / name, images=few, progress=False)
    return ", ".join(str(folder / name) for name in ("random", "supervised", "codial"))


@pytest.fixture
def retrieval(notebook, runs):
    opened = notebook(NOTEBOOKS["05_retrieval"], {"runs": runs, "pictures": 400, "layer": "conv2"})
    opened.run_all()
    return opened


def assert_ran(opened):
    assert opened.errors == []
    assert all(re.search(r"\[\d+\]", prompt) for prompt in opened.prompts)
    assert opened.cut_off() == []


def test_an_error_is_seen(notebook):
    opened = notebook(NOTEBOOKS["05_retrieval"], {"layer": "fc9"})
    opened.run_all()
    assert "fc9" in opened.errors[0]
    assert not all(re.search(r"\[\d+\]", prompt) for prompt in opened.prompts)


def test_05_runs_and_neighbours_change_by_mouse_and_by_keyboard(retrieval):
    assert_ran(retrieval)
    cell = retrieval.cell("browser.show()")
    tiles, first = cell.locator(".codial-tile"), retrieval.values(*NEIGHBOURS)
    retrieval.screenshot("05-before")
    assert len(first) == 3 * 7
    tiles.nth(8).click()
    retrieval.wait_for(*NEIGHBOURS, first, other=True)
    retrieval.wait_for(*QUERY, [first[8].split(",")[0]])
    second = retrieval.values(*NEIGHBOURS)
    tiles.nth(2).focus()
    tiles.nth(2).press("Enter")
    retrieval.wait_for(*QUERY, [second[2].split(",")[0]])
    retrieval.wait_for(*NEIGHBOURS, second, other=True)
    retrieval.screenshot("05-after")
    assert retrieval.cut_off() == []
    for seen in (second, first):
        cell.get_by_role("button", name="back").press("Enter")
        retrieval.wait_for(*NEIGHBOURS, seen)


@pytest.mark.skipif(not EVERY, reason="nbval runs them; in JupyterLab, too, with CODIAL_UI_ALL=1")
@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_runs_as_it_is_without_an_error(name, notebook):
    opened = notebook(NOTEBOOKS[name])
    opened.run_all(seconds=1800)
    opened.screenshot(name)
    assert_ran(opened)
