"""The maps of notebook 06 in JupyterLab, by mouse and keyboard."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

import codial
from codial.plots.selection import UNSELECTED
from codial.plots.style import BLUE, ORANGE, PALETTE

pytestmark = [pytest.mark.ui, pytest.mark.slow]

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/06_embeddings.ipynb"
IMAGES = 160
# The number of pixels of each canvas that have exactly a color.
PIXELS = """color => [...document.querySelectorAll('.codial-maps canvas')].map(canvas => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const wanted = [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
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


@pytest.fixture(scope="module")
def maps(shared_notebook, runs):
    opened = shared_notebook(NOTEBOOK, {"runs": runs, "images": IMAGES, "layers": "conv1, conv5"})
    opened.requests = []
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.run_all()
    opened.canvas = opened.page.locator(".codial-maps canvas")
    opened.canvas.first.scroll_into_view_if_needed()
    return opened


def selected_count(maps, index=0):
    return int(re.search(r"(\d+) of \d+ images selected", maps.canvas.nth(index).get_attribute("aria-label"))[1])


def wait_for(maps, count):
    text = f"{count} of {IMAGES} images selected"
    maps.page.locator(f'.codial-maps canvas[aria-label*=", {text}"]').first.wait_for()
    maps.page.locator(".widget-html", has_text=text).wait_for()  # set in Python, too
    maps.wait_until_idle()


def lasso(maps, corners, index=0):
    """Draw a loop with the mouse; corners are fractions of the canvas."""
    box, mouse = maps.canvas.nth(index).bounding_box(), maps.page.mouse
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    mouse.move(*points[0])
    mouse.down()
    for point in points[1:]:
        mouse.move(*point, steps=10)
    mouse.up()


def python(maps, code):
    """Run code in a new cell at the end and return the value it prints."""
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


def test_06_a_lasso_selects_images_in_python(maps):
    assert maps.errors == []
    assert maps.cut_off() == []
    assert maps.values(".codial-maps .mode", "aria-pressed") == 2 * ["true", "false"], "a drag selects at first"
    before = selected_count(maps)
    lasso(maps, LEFT)
    maps.page.wait_for_function(
        "n => !document.querySelector('.codial-maps canvas').ariaLabel.includes(n)", arg=f", {before} of"
    )
    count = selected_count(maps)
    wait_for(maps, count)
    assert selected_count(maps, 1) == count, "both maps show the selection"
    maps.canvas.first.scroll_into_view_if_needed()
    maps.screenshot("06-lasso")
    cell = maps.cell("print(len(explorer.selected)")
    cell.locator(".jp-InputArea").click()
    maps.page.keyboard.press("Control+Enter")
    cell.get_by_text(f"{count} of {IMAGES} images").wait_for()
    numbers = ast.literal_eval(cell.locator(".jp-OutputArea-output").inner_text().split(": ")[1])
    assert len(numbers) == count
    across = python(maps, "explorer.maps[explorer.titles[0]].points[:, 0].tolist()")
    inside, margin = ({n for n, x in enumerate(across) if x < edge} for edge in (-0.02, 0.02))
    assert inside <= set(numbers) <= margin
    assert 10 < count < IMAGES - 10
    assert [url for url in maps.requests if not LOCAL.match(url)] == []


def a_lasso_with_shift_adds_and_an_empty_one_clears(maps):
    maps.page.get_by_role("button", name="clear").click()
    wait_for(maps, 0)
    lasso(maps, LEFT)
    maps.page.wait_for_function("() => !document.querySelector('.codial-maps canvas').ariaLabel.includes(', 0 of')")
    maps.page.keyboard.down("Shift")
    lasso(maps, [(1 - x, y) for x, y in LEFT], index=0)
    maps.page.keyboard.up("Shift")
    wait_for(maps, IMAGES)
    lasso(maps, [(0.01, 0.01), (0.03, 0.01), (0.03, 0.03)])
    wait_for(maps, 0)


def unselected_points_are_gray_in_every_map(maps):
    maps.page.get_by_role("button", name="clear").click()
    wait_for(maps, 0)
    assert all(min(maps.page.evaluate(PIXELS, color)) > 0 for color in PALETTE[:8])
    near = "#D65E00"  # of the palette's #D55E00; no edge has it, whereas black points have edges of every gray
    assert maps.page.evaluate(PIXELS, near) == [0, 0], "the count is of exact colors"
    maps.page.get_by_label("class").select_option("astronaut")
    wait_for(maps, IMAGES // 8)
    assert min(maps.page.evaluate(PIXELS, BLUE)) > 0
    assert min(maps.page.evaluate(PIXELS, UNSELECTED)) > 0
    assert maps.page.evaluate(PIXELS, ORANGE) == [0, 0]
    maps.screenshot("06-class")


def keyboard_and_clicks_show_an_image_and_its_neighbors(maps):
    maps.page.get_by_role("button", name="clear").click()
    wait_for(maps, 0)
    drawn = maps.values(".widget-image", "src")
    maps.canvas.nth(1).focus()
    maps.page.keyboard.press("ArrowRight")
    maps.wait_for(".widget-image", "src", drawn, other=True)
    maps.page.keyboard.press("Enter")
    wait_for(maps, 1)
    assert python(maps, "explorer.selected") == [python(maps, "explorer.lasso.current")]
    maps.canvas.nth(1).focus()
    maps.page.keyboard.press("Escape")
    wait_for(maps, 0)
    x, y = python(maps, "explorer.maps[explorer.titles[0]].points[5].tolist()")
    extent = python(maps, "explorer.lasso.extent")
    maps.canvas.first.scroll_into_view_if_needed()
    box = maps.canvas.first.bounding_box()
    scale = min((box["width"] - 2) / extent[0], (box["height"] - 2) / extent[1]) / 2
    position = {"x": box["width"] / 2 + scale * x, "y": box["height"] / 2 - scale * y}
    maps.canvas.first.hover(position=position)
    tip = maps.page.locator(".codial-maps .tip")
    tip.locator('img[src^="blob:"]').wait_for()
    hovered = int(re.search(r"image (\d+)", tip.inner_text())[1])
    maps.screenshot("06-point")
    maps.canvas.first.click(position=position)
    maps.wait_until_idle()
    assert python(maps, "explorer.lasso.current") == hovered


def menus_change_layers_and_keep_the_selection(maps):
    count = selected_count(maps)
    before = maps.page.evaluate(PIXELS, BLUE)
    maps.page.get_by_label("map 1").select_option(index=0)
    maps.page.locator('.codial-maps canvas[aria-label*="conv1"]').wait_for()
    maps.page.wait_for_timeout(700)  # the animation takes half a second
    assert selected_count(maps) == count
    after = maps.page.evaluate(PIXELS, BLUE)
    assert before[0] != after[0]
    assert before[1] == after[1]


STEPS = (
    a_lasso_with_shift_adds_and_an_empty_one_clears,
    unselected_points_are_gray_in_every_map,
    keyboard_and_clicks_show_an_image_and_its_neighbors,
    menus_change_layers_and_keep_the_selection,
)


def test_06_maps_answer_mouse_and_keyboard(maps):
    for step in STEPS:
        step(maps)
    assert maps.errors == []
    assert maps.cut_off() == []
