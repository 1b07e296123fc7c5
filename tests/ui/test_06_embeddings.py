"""The maps of notebook 06, touched by mouse and keyboard in a real browser."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import codial
from codial.plots.chosen import REST
from codial.plots.style import BLUE, ORANGE, PALETTE

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/06_embeddings.ipynb"
PICTURES = 160
# How many pixels of each canvas have exactly a colour.
PIXELS = """colour => [...document.querySelectorAll('.codial-maps canvas')].map(canvas => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const wanted = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));
    let found = 0;
    for (let i = 0; i < data.length; i += 4) found += wanted.every((value, k) => data[i + k] === value);
    return found;
})"""


@pytest.fixture(scope="module")
def runs(tiny_run, tiny, few, tmp_path_factory):
    """Folders of two small runs."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    codial.pretrain(replace(tiny, name="other", seed=1), folder, images=few, progress=False)
    return f"{tiny_run.folder}, {folder}"


@pytest.fixture
def maps(notebook, runs):
    opened = notebook(NOTEBOOK, {"runs": runs, "pictures": PICTURES, "layers": "conv1, conv5"})
    opened.elsewhere = []
    opened.page.on("request", lambda request: opened.elsewhere.append(request.url))
    opened.run_all()
    opened.canvas = opened.page.locator(".codial-maps canvas")
    opened.canvas.first.scroll_into_view_if_needed()
    return opened


def chosen(maps, place=0):
    return int(re.search(r"(\d+) of \d+ pictures chosen", maps.canvas.nth(place).get_attribute("aria-label"))[1])


def wait_for(maps, count):
    words = f"{count} of {PICTURES} pictures chosen"
    maps.page.locator(f'.codial-maps canvas[aria-label*=", {words}"]').first.wait_for()
    maps.page.locator(".widget-html", has_text=words).wait_for()  # Python has it, too
    maps.wait_until_idle()


def lasso(maps, corners, place=0):
    """Draw a loop with the mouse; corners are parts of the canvas."""
    box, mouse = maps.canvas.nth(place).bounding_box(), maps.page.mouse
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    mouse.move(*spots[0])
    mouse.down()
    for spot in spots[1:]:
        mouse.move(*spot, steps=10)
    mouse.up()


def python(maps, code):
    """Run code in a new cell at the end, and return what it prints."""
    last = maps.cells.last
    last.locator(".jp-InputArea").click()
    maps.page.keyboard.press("Escape")
    for key in ("b", "Enter"):
        maps.page.keyboard.press(key)
    maps.page.keyboard.insert_text(f"print({code})")
    maps.page.keyboard.press("Control+Enter")
    text = maps.cells.last.locator(".jp-OutputArea-output").inner_text()
    return ast.literal_eval(text)


LOCAL = re.compile(r"(http|ws)://127\.0\.0\.1|data:|blob:")
LEFT = [(0.01, 0.01), (0.5, 0.01), (0.5, 0.99), (0.01, 0.99)]


def test_06_a_lasso_chooses_pictures_that_python_then_has(maps):
    assert maps.errors == []
    assert maps.cut_off() == []
    before = chosen(maps)
    lasso(maps, LEFT)
    maps.page.wait_for_function(
        "n => !document.querySelector('.codial-maps canvas').ariaLabel.includes(n)", arg=f", {before} of"
    )
    count = chosen(maps)
    wait_for(maps, count)
    assert chosen(maps, 1) == count, "both maps show the choice"
    maps.canvas.first.scroll_into_view_if_needed()
    maps.screenshot("06-lasso")
    cell = maps.cell("print(len(explorer.selected)")
    cell.locator(".jp-InputArea").click()
    maps.page.keyboard.press("Control+Enter")
    cell.get_by_text(f"{count} of {PICTURES} pictures").wait_for()
    numbers = ast.literal_eval(cell.locator(".jp-OutputArea-output").inner_text().split(": ")[1])
    assert len(numbers) == count
    across = python(maps, "explorer.maps[explorer.shown[0]].points[:, 0].tolist()")
    surely, perhaps = ({n for n, x in enumerate(across) if x < edge} for edge in (-0.02, 0.02))
    assert surely <= set(numbers) <= perhaps
    assert 10 < count < PICTURES - 10
    assert [url for url in maps.elsewhere if not LOCAL.match(url)] == []


def with_shift_a_lasso_adds_and_one_round_nothing_clears(maps):
    maps.page.get_by_role("button", name="clear").click()
    wait_for(maps, 0)
    lasso(maps, LEFT)
    maps.page.wait_for_function("() => !document.querySelector('.codial-maps canvas').ariaLabel.includes(', 0 of')")
    maps.page.keyboard.down("Shift")
    lasso(maps, [(1 - x, y) for x, y in LEFT], place=0)
    maps.page.keyboard.up("Shift")
    wait_for(maps, PICTURES)
    lasso(maps, [(0.01, 0.01), (0.03, 0.01), (0.03, 0.03)])
    wait_for(maps, 0)


def what_is_not_chosen_is_grey_in_every_map(maps):
    maps.page.get_by_role("button", name="clear").click()
    wait_for(maps, 0)
    assert all(min(maps.page.evaluate(PIXELS, colour)) > 0 for colour in PALETTE[:8])
    assert maps.page.evaluate(PIXELS, "#C7C7C7") == [0, 0], "the count is of exact colours"
    maps.page.get_by_label("class").select_option("astronaut")
    wait_for(maps, PICTURES // 8)
    assert min(maps.page.evaluate(PIXELS, BLUE)) > 0
    assert min(maps.page.evaluate(PIXELS, REST)) > 0
    assert maps.page.evaluate(PIXELS, ORANGE) == [0, 0]
    maps.screenshot("06-class")


def by_keyboard_and_by_click_a_point_shows_its_picture_and_neighbours(maps):
    maps.page.get_by_role("button", name="clear").click()
    wait_for(maps, 0)
    drawn = maps.values(".widget-image", "src")
    maps.canvas.nth(1).focus()
    maps.page.keyboard.press("ArrowRight")
    maps.wait_for(".widget-image", "src", drawn, other=True)
    maps.page.keyboard.press("Enter")
    wait_for(maps, 1)
    assert python(maps, "explorer.selected") == [python(maps, "explorer.lasso.pointed")]
    maps.canvas.nth(1).focus()
    maps.page.keyboard.press("Escape")
    wait_for(maps, 0)
    across, down = python(maps, "explorer.maps[explorer.shown[0]].points[5].tolist()")
    reach = python(maps, "explorer.lasso.reach")
    maps.canvas.first.scroll_into_view_if_needed()
    box = maps.canvas.first.bounding_box()
    scale = min((box["width"] - 2) / reach[0], (box["height"] - 2) / reach[1]) / 2
    place = {"x": box["width"] / 2 + scale * across, "y": box["height"] / 2 - scale * down}
    maps.canvas.first.hover(position=place)
    tip = maps.page.locator(".codial-maps .tip")
    tip.locator("img").wait_for()
    hovered = int(re.search(r"picture (\d+)", tip.inner_text())[1])
    maps.screenshot("06-point")
    maps.canvas.first.click(position=place)
    maps.wait_until_idle()
    assert python(maps, "explorer.lasso.pointed") == hovered


def menus_bring_other_layers_and_the_choice_stays(maps):
    count = chosen(maps)
    before = maps.page.evaluate(PIXELS, BLUE)
    maps.page.get_by_label("map 1").select_option(index=0)
    maps.page.locator('.codial-maps canvas[aria-label*="conv1"]').wait_for()
    maps.page.wait_for_timeout(700)  # points glide for half a second
    assert chosen(maps) == count
    after = maps.page.evaluate(PIXELS, BLUE)
    assert before[0] != after[0]
    assert before[1] == after[1]


STEPS = (
    with_shift_a_lasso_adds_and_one_round_nothing_clears,
    what_is_not_chosen_is_grey_in_every_map,
    by_keyboard_and_by_click_a_point_shows_its_picture_and_neighbours,
    menus_bring_other_layers_and_the_choice_stays,
)


def test_06_maps_answer_mouse_and_keyboard(maps):
    for step in STEPS:
        step(maps)
    assert maps.errors == []
    assert maps.cut_off() == []
