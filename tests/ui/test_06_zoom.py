"""Zoom and pan in the maps of notebook 06, with 20,000 points, by mouse, keyboard and fingers.

Expected positions are computed here from the points, as view = zoom about the center, then a shift in pixels.
"""

import ast
import re

import nbformat
import numpy as np
import pytest
import torch

pytestmark = [pytest.mark.ui, pytest.mark.slow]

COUNT = 20_000
POINTS = """
import torch
generator = torch.Generator().manual_seed(7)
labels = torch.arange(20_000) % 8
centers = 4 * torch.randn(8, 2, generator=generator)
points = [centers[labels] + torch.randn(20_000, 2, generator=generator) for _ in range(2)]
points = [each - each.mean(0) for each in points]
"""
SHOW = """
from codial.data import ImageSet
from codial.evaluate import LayerMap
from codial.widgets import EmbeddingMap
numbers = torch.arange(20_000)
pixels = torch.stack([numbers // 256, numbers % 256, labels], 1)  # an image's color is its number
pixels = pixels.byte()[:, :, None, None].expand(-1, -1, 8, 8).contiguous()
images = ImageSet("colors", "all", pixels, labels, tuple("abcdefgh"))
nearest = (numbers[:, None] + torch.arange(1, 13)) % 20_000
maps = {name: LayerMap(each, 0.9, nearest, torch.ones(20_000, 12)) for name, each in zip(("one", "two"), points)}
explorer = EmbeddingMap({"run": maps}, images, ["run, one", "run, two"])
explorer.show()
"""
SIZE = "canvas => [canvas.clientWidth, canvas.clientHeight]"
NUMBER = """image => {
    const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const [high, low] = context.getImageData(2, 2, 1, 1).data;
    return 256 * high + low;
}"""
# Milliseconds between frames while the first map is zoomed or panned in every frame.
FRAMES = """async kind => {
    const canvas = document.querySelector('.codial-maps canvas'), box = canvas.getBoundingClientRect(), times = [];
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    const send = (kind, Event, more) => canvas.dispatchEvent(
        new Event(kind, {clientX: x, clientY: y, bubbles: true, cancelable: true, ...more}));
    const key = key => canvas.dispatchEvent(new KeyboardEvent('keydown', {key, shiftKey: true, bubbles: true}));
    for (let i = 0; i < 82; i++) {
        if (kind === 'wheel') send('wheel', WheelEvent, {deltaY: i < 40 ? -40 : 40});
        if (kind === 'pan') key(i % 4 < 2 ? 'ArrowLeft' : 'ArrowRight');
        times.push(await new Promise(requestAnimationFrame));
    }
    return times.slice(2).map((time, i) => time - times[i + 1]);
}"""


@pytest.fixture(scope="module")
def points():
    """The points of the first map, [N, 2]."""
    names = {}
    exec(POINTS, names)
    return names["points"][0].numpy().astype(float)


@pytest.fixture(scope="module")
def opened(shared_notebook, tmp_path_factory):
    path = tmp_path_factory.mktemp("notebooks") / "06_zoom.ipynb"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(POINTS + SHOW)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    opened = shared_notebook(path)
    opened.run_all()
    opened.page.locator(".codial-maps canvas").first.wait_for()
    return opened


class View:
    """The first map, by mouse and keyboard."""

    def __init__(self, opened, points):
        self.opened, self.page, self.points = opened, opened.page, points
        self.canvas = opened.page.locator(".codial-maps canvas").first
        self.root = opened.page.locator(".codial-maps .map").first
        self.tip = opened.page.locator(".codial-maps .tip")
        self.extent = 1.06 * np.abs(python_points(opened)).max(0)
        self.canvas.scroll_into_view_if_needed()

    def home(self):
        self.canvas.focus()
        for key in ("Escape", "s", "0"):
            self.page.keyboard.press(key)
        self.page.mouse.move(2, 2)
        self.expect_zoom("1.0×")
        self.opened.wait_until_idle()

    def expect_zoom(self, text):
        self.root.locator("output", has_text=text).wait_for()

    def pixels(self, zoom=1.0, shift=(0, 0)):
        """All points in pixels of the page."""
        box, size = self.canvas.bounding_box(), np.array(self.canvas.evaluate(SIZE))
        scale = zoom * (size / self.extent).min() / 2
        return np.array([box["x"] + 1, box["y"] + 1]) + size / 2 + scale * self.points * [1, -1] + shift

    def target(self):
        """A point that lies almost exactly on a pixel, in the middle of the map and in dense surroundings."""
        positions = self.pixels()
        offset = np.abs(positions - positions.round()).max(1)
        middle = positions.mean(0)
        candidates = np.flatnonzero((offset < 0.08) & (np.abs(positions - middle) < 60).all(1))
        nearest = [n for n in candidates if np.hypot(*(positions - positions[n].round()).T).argmin() == n]
        return nearest[0], positions[nearest[0]].round()

    def hovered(self, position):
        self.page.mouse.move(2, 2)
        self.page.mouse.move(*position)
        return int(re.search(r"image (\d+)", self.tip.inner_text())[1]) if self.tip.is_visible() else None

    def drag(self, start, *corners, button="left"):
        self.page.mouse.move(*start)
        self.page.mouse.down(button=button)
        for corner in corners:
            self.page.mouse.move(*corner, steps=8)
        self.page.mouse.up(button=button)

    def press(self, *keys):
        self.canvas.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.page.evaluate("() => new Promise(requestAnimationFrame)")


def python_points(opened):
    names = {}
    exec(POINTS, names)
    return torch.cat(names["points"]).numpy().astype(float)


@pytest.fixture
def view(opened, points):
    view = View(opened, points)
    view.home()
    return view


def test_the_wheel_zooms_about_the_pointer(view):
    number, position = view.target()
    assert view.hovered(position) == number
    for _ in range(6):
        view.page.mouse.wheel(0, -240)
    view.expect_zoom(f"{np.exp(0.002 * 240 * 6):.1f}×")
    assert view.hovered(position) == number
    assert view.hovered(np.add(position, (25, 0))) != number, "the reach is 10 pixels at any zoom"
    for _ in range(12):
        view.page.mouse.wheel(0, 240)
    view.expect_zoom("1.0×")
    view.page.keyboard.press("0")
    assert view.hovered(position) == number


def test_hovering_after_zoom_shows_the_image(view):
    view.press("+", "+", "+", "+")
    view.expect_zoom("5.1×")
    positions = view.pixels(1.5**4)
    box = view.canvas.bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    for spot in positions[np.hypot(*(positions - middle).T).argsort()[:200:40]].round():
        expected = np.hypot(*(positions - spot).T).argmin()
        assert view.hovered(spot) == expected
        image = view.tip.locator('img[src^="blob:"]')
        image.wait_for()
        assert image.evaluate(NUMBER) == expected
        assert view.tip.inner_text() == f"image {expected}, {'abcdefgh'[expected % 8]}"
    view.opened.screenshot("06-zoom-hover")


def test_the_tip_has_its_size_before_its_image_arrives(view):
    positions = view.pixels()
    view.page.mouse.move(*positions[4321].round())
    before = view.tip.bounding_box()
    view.tip.locator('img[src^="blob:"]').wait_for()
    assert view.tip.bounding_box() == before


@pytest.mark.parametrize("way", ["mode", "middle", "Space"])
def test_a_drag_pans_by_its_distance(view, way):
    number, _ = view.target()
    view.press("+")
    start = view.pixels(1.5)[number].round()
    if way == "mode":
        view.root.get_by_role("button", name="pan").click()
    if way == "Space":
        view.canvas.focus()
        view.page.keyboard.down(" ")
    view.drag(start, np.add(start, (70, -40)), button="middle" if way == "middle" else "left")
    if way == "Space":
        view.page.keyboard.up(" ")
    assert view.hovered(view.pixels(1.5, (70, -40))[number].round()) == number
    assert f", 0 of {COUNT}" in view.canvas.get_attribute("aria-label"), "nothing is selected"
    assert view.opened.page.locator(".codial-maps output").all_inner_texts() == ["1.5×", "1.0×"], "each map has a view"


def test_keys_zoom_pan_and_reset(view):
    number, _ = view.target()
    view.press("+", "+", "-", "Shift+ArrowRight", "p", "ArrowDown")
    assert view.root.get_by_role("button", name="pan").get_attribute("aria-pressed") == "true"
    assert view.hovered(view.pixels(1.5, (-60, -60))[number].round()) == number
    view.press("s", "Home")
    assert view.root.get_by_role("button", name="select").get_attribute("aria-pressed") == "true"
    assert view.hovered(view.pixels()[number].round()) == number
    assert view.canvas.evaluate("canvas => getComputedStyle(canvas).outlineStyle") == "solid", "focus is visible"


def test_buttons_zoom_and_reset_and_double_click_zooms(view):
    number, position = view.target()
    zoom_out, zoom_in, reset = (view.root.get_by_title(title) for title in ("zoom out", "zoom in", "the whole map"))
    zoom_in.click()
    zoom_in.click()
    zoom_out.press("Enter")
    view.expect_zoom("1.5×")
    reset.click()
    view.expect_zoom("1.0×")
    view.page.mouse.dblclick(*position)
    view.expect_zoom("2.0×")
    assert view.hovered(position) == number


def test_limits_keep_the_points_in_sight(view):
    view.press(*["-"] * 3)
    view.expect_zoom("1.0×")
    view.press(*["Shift+ArrowLeft"] * 10)
    quarter = view.canvas.evaluate(SIZE)[0] / 4
    edge = view.pixels(1, (quarter, 0))
    box = view.canvas.bounding_box()
    spot = edge[np.flatnonzero(edge[:, 0] < box["x"] + box["width"] - 20)[0]].round()
    assert view.hovered(spot) == np.hypot(*(edge - spot).T).argmin()
    view.press(*["+"] * 20)
    view.expect_zoom("64.0×")


def test_a_lasso_after_zoom_and_pan_selects_exactly_the_points_inside(view):
    from matplotlib.path import Path

    view.press("+", "+", "Shift+ArrowLeft")
    positions = view.pixels(1.5**2, (60, 0))
    box = view.canvas.bounding_box()
    middle = np.round([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    corners = [middle + each for each in ([-80, -80], [80, -64], [0, 0], [64, 80], [-48, 72])]  # not convex
    view.drag(corners[0], *corners[1:])
    outline = Path(corners)
    inside = set(np.flatnonzero(outline.contains_points(positions)).tolist())
    view.page.locator(".widget-html", has_text=f"of {COUNT} images selected").wait_for()
    view.page.wait_for_function("() => !document.querySelector('.codial-maps canvas').ariaLabel.includes(', 0 of')")
    view.opened.wait_until_idle()
    view.opened.screenshot("06-zoom-lasso")
    selected = python(view.opened, "explorer.selected")
    assert len(inside) > 500
    for n in inside.symmetric_difference(selected):
        assert edge_distance(positions[n], corners) < 0.5, "pixels are rounded at the edge only"
    assert len(inside.symmetric_difference(selected)) < 0.02 * len(inside)


def edge_distance(point, corners):
    distances = []
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        fraction = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        distances.append(np.hypot(*(point - a - fraction * (b - a))))
    return min(distances)


def test_two_fingers_zoom_and_the_points_under_them_stay(view):
    number, position = view.target()
    session = view.page.context.new_cdp_session(view.page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(kind, *xs):
        touches = [{"x": position[0] + x, "y": position[1], "id": index} for index, x in enumerate(xs)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    touch("touchStart", -30)
    touch("touchStart", -30, 30)
    for spread in range(30, 91, 10):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    view.expect_zoom("3.0×")
    assert view.hovered(position) == number
    assert f", 0 of {COUNT}" in view.canvas.get_attribute("aria-label"), "nothing is selected"


@pytest.mark.parametrize("kind", ["wheel", "pan"])
def test_frames_of_20_000_points(view, kind):
    times = np.array(view.page.evaluate(FRAMES, kind))
    print(f"{kind}: median {np.median(times):.1f}, 95th percentile {np.percentile(times, 95):.1f} ms per frame")
    assert np.percentile(times, 95) < 100, "33 ms on an idle machine of 2 cores"
    assert view.opened.errors == []


def python(opened, code):
    """Run code in a new cell at the end and return the value it prints."""
    opened.cells.last.locator(".jp-InputArea").click()
    opened.page.keyboard.press("Escape")
    for key in ("b", "Enter"):
        opened.page.keyboard.press(key)
    opened.page.keyboard.insert_text(f"print({code})")
    opened.page.keyboard.press("Control+Enter")
    return ast.literal_eval(opened.cells.last.locator(".jp-OutputArea-output").inner_text())
