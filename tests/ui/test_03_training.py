"""The training panel of notebook 03 in JupyterLab, by mouse and by keyboard."""

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/03_pretrain.ipynb"
WAITING = "panel.until_done"
IMAGE = ("img", "src")


@pytest.fixture
def opened(notebook, tmp_path):
    """Notebook 03, run up to the cell that waits for a run of an hour."""
    values = {"out": str(tmp_path / "run"), "epochs": 900, "companions": False, "seed": 3}
    opened = notebook(NOTEBOOK, values)
    select(opened, WAITING)
    click_menu(opened, "Run", "Run All Above Selected Cell")
    wait_for_text(opened, "Training.")
    return opened


def click_menu(opened, menu, item):
    """Select an item of a menu."""
    opened.page.get_by_role("menuitem", name=menu, exact=True).click()
    opened.page.get_by_role("menuitem", name=item).click()


def prompt(opened, text):
    return opened.cell(text).locator(".jp-InputPrompt")


def select(opened, text):
    prompt(opened, text).click()


def start_cell(opened, text):
    """Start a cell and wait until it is running."""
    select(opened, text)
    opened.page.keyboard.press("Control+Enter")
    prompt(opened, text).filter(has_text="*").wait_for()


def run_cell(opened, text):
    """Run a cell and wait until it has finished."""
    before = prompt(opened, text).inner_text()
    select(opened, text)
    opened.page.keyboard.press("Control+Enter")
    prompt(opened, text).filter(has_not_text=before).filter(has_text=re.compile(r"\d")).wait_for()


def wait_for_text(opened, text):
    """Wait until a widget shows a text."""
    opened.page.locator(".jp-CodeCell .widget-html-content", has_text=text).wait_for()


def press(opened, name, key=None):
    """Click a button of the panel, or press a key on it."""
    button = opened.cell("panel.show()").get_by_role("button", name=name)
    button.click() if key is None else button.press(key)


def test_start_pause_resume_and_stop_while_another_cell_runs(opened):
    opened.wait_for(*IMAGE, opened.values(*IMAGE), other=True)  # the curves grow
    run_cell(opened, "flatten(config)")
    wait_for_text(opened, "Training.")  # still
    press(opened, "pause")
    wait_for_text(opened, "Paused")
    opened.page.wait_for_timeout(2500)  # until the last step is drawn
    held = opened.values(*IMAGE)
    opened.screenshot("03-paused")
    assert opened.values(*IMAGE) == held
    press(opened, "resume", "Enter")
    opened.wait_for(*IMAGE, held, other=True)
    press(opened, "stop")
    wait_for_text(opened, "Stopped at step")
    held = opened.values(*IMAGE)
    press(opened, "start", "Enter")
    wait_for_text(opened, "Training.")
    opened.wait_for(*IMAGE, held, other=True)
    press(opened, "stop", "Enter")
    wait_for_text(opened, "Stopped at step")
    opened.screenshot("03-stopped")
    assert opened.errors == []
    assert opened.cut_off() == []
    assert len(opened.values(*IMAGE)) == 1


def test_the_stop_button_and_an_interrupt_end_a_waiting_cell(opened):
    start_cell(opened, WAITING)
    press(opened, "stop")
    wait_for_text(opened, "Stopped at step")
    opened.wait_until_idle()
    press(opened, "start")
    wait_for_text(opened, "Training.")
    start_cell(opened, WAITING)
    click_menu(opened, "Kernel", "Interrupt Kernel")
    wait_for_text(opened, "Stopped at step")
    opened.wait_until_idle()
    run_cell(opened, "plots.outcome")  # later cells have the run
    assert opened.errors == []


def test_a_deleted_folder_shows_an_error_and_the_figure_outlives_the_kernel(opened, tmp_path):
    opened.wait_for(*IMAGE, opened.values(*IMAGE), other=True)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    wait_for_text(opened, "was deleted; the last figure is kept")
    opened.cell("panel.show()")
    opened.screenshot("03-deleted")
    press(opened, "start")
    wait_for_text(opened, "Training.")
    click_menu(opened, "Kernel", re.compile("^Shut Down Kernel"))
    opened.page.locator("#jp-main-statusbar").get_by_text("No Kernel").wait_for()
    assert [src[:22] for src in opened.values(*IMAGE)] == ["data:image/png;base64,"]
