"""The training panel of notebook 03 in JupyterLab, by mouse and by keyboard."""

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/03_pretrain.ipynb"
WAITING = "panel.until_done"
PICTURE = ("img", "src")


@pytest.fixture
def opened(notebook, tmp_path):
    """Notebook 03 up to where it would wait for the run, which would take an hour."""
    values = {"out": str(tmp_path / "run"), "epochs": 900, "companions": False, "seed": 3}
    opened = notebook(NOTEBOOK, values)
    select(opened, WAITING)
    choose(opened, "Run", "Run All Above Selected Cell")
    see(opened, "Training.")
    return opened


def choose(opened, menu, item):
    """Choose something in a menu."""
    opened.page.get_by_role("menuitem", name=menu, exact=True).click()
    opened.page.get_by_role("menuitem", name=item).click()


def prompt(opened, words):
    return opened.cell(words).locator(".jp-InputPrompt")


def select(opened, words):
    prompt(opened, words).click()


def start_cell(opened, words):
    """Run one cell, and wait until it works."""
    select(opened, words)
    opened.page.keyboard.press("Control+Enter")
    prompt(opened, words).filter(has_text="*").wait_for()


def run_cell(opened, words):
    """Run one cell, and wait until it has run."""
    before = prompt(opened, words).inner_text()
    select(opened, words)
    opened.page.keyboard.press("Control+Enter")
    prompt(opened, words).filter(has_not_text=before).filter(has_text=re.compile(r"\d")).wait_for()


def see(opened, words):
    """Wait until a widget says these words."""
    opened.page.locator(".jp-CodeCell .widget-html-content", has_text=words).wait_for()


def press(opened, name, key=None):
    """Click a button of the panel, or press a key on it."""
    button = opened.cell("panel.show()").get_by_role("button", name=name)
    button.click() if key is None else button.press(key)


def test_it_starts_pauses_resumes_and_stops_and_another_cell_answers_meanwhile(opened):
    opened.wait_for(*PICTURE, opened.values(*PICTURE), other=True)  # it grows
    run_cell(opened, "flatten(config)")
    see(opened, "Training.")  # all the while
    press(opened, "pause")
    see(opened, "Paused")
    opened.page.wait_for_timeout(2500)  # until the last step is drawn
    held = opened.values(*PICTURE)
    opened.screenshot("03-paused")
    assert opened.values(*PICTURE) == held
    press(opened, "resume", "Enter")
    opened.wait_for(*PICTURE, held, other=True)
    press(opened, "stop")
    see(opened, "Stopped at step")
    held = opened.values(*PICTURE)
    press(opened, "start", "Enter")
    see(opened, "Training.")
    opened.wait_for(*PICTURE, held, other=True)
    press(opened, "stop", "Enter")
    see(opened, "Stopped at step")
    opened.screenshot("03-stopped")
    assert opened.errors == []
    assert opened.cut_off() == []
    assert len(opened.values(*PICTURE)) == 1


def test_a_cell_that_waits_is_ended_by_the_stop_button_and_by_an_interrupt(opened):
    start_cell(opened, WAITING)
    press(opened, "stop")
    see(opened, "Stopped at step")
    opened.wait_until_idle()
    press(opened, "start")
    see(opened, "Training.")
    start_cell(opened, WAITING)
    choose(opened, "Kernel", "Interrupt Kernel")
    see(opened, "Stopped at step")
    opened.wait_until_idle()
    run_cell(opened, "plots.outcome")  # what comes next has its run
    assert opened.errors == []


def test_a_folder_deleted_while_open_is_told_and_the_picture_outlives_the_kernel(opened, tmp_path):
    opened.wait_for(*PICTURE, opened.values(*PICTURE), other=True)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    see(opened, "is gone; the last picture of it stays")
    opened.cell("panel.show()")
    opened.screenshot("03-gone")
    press(opened, "start")
    see(opened, "Training.")
    choose(opened, "Kernel", re.compile("^Shut Down Kernel"))
    opened.page.locator("#jp-main-statusbar").get_by_text("No Kernel").wait_for()
    assert [src[:22] for src in opened.values(*PICTURE)] == ["data:image/png;base64,"]
