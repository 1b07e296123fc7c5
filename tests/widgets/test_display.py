import pytest
from IPython.display import Image

from codial.plots.style import new_figure
from codial.widgets import display
from codial.widgets.display import LiveFigure, Panel, show


class Page:
    """A notebook page: each display with its current image."""

    def __init__(self):
        self.shown, self.messages = [], 0

    def display(self, shown, display_id=None, **_):
        self.shown.append(shown)
        self.messages += 1
        return Handle(self, len(self.shown) - 1) if display_id else None


class Handle:
    def __init__(self, page, index):
        self.page, self.index = page, index

    def update(self, shown):
        self.page.shown[self.index] = shown
        self.page.messages += 1


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def page(monkeypatch):
    page = Page()
    monkeypatch.setattr(display, "display", page.display)
    return page


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def blank():
    return new_figure(0.2, 0.2)


def test_figures_are_shown_as_png(page):
    show(blank())
    assert isinstance(page.shown[0], Image)
    assert page.shown[0].data.startswith(b"\x89PNG")


def test_updates_replace_one_image(page, clock):
    live = LiveFigure()
    for _ in range(3):
        assert live.update(lambda: new_figure(0.2 + clock.now / 1000, 0.2))
        clock.now += 60
    assert len(page.shown) == 1
    assert page.messages == live.updates == 3


def test_updates_that_come_too_soon_are_skipped(page, clock):
    live, drawn = LiveFigure(pause=0.5), []

    def draw():
        drawn.append(clock.now)
        return blank()

    shown = []
    for _ in range(8):
        shown.append(live.update(draw))
        clock.now += 0.125
    assert shown == 2 * [True, False, False, False]
    assert len(drawn) == 2


def test_updates_can_be_forced(page, clock):
    live = LiveFigure()
    live.update(blank)
    assert not live.update(blank)
    assert live.update(blank, force=True)


def test_drawing_takes_at_most_a_tenth_of_the_time(page, clock):
    live, spent = LiveFigure(), 0

    def slow():
        nonlocal spent
        clock.now += 2
        spent += 2
        return blank()

    began = clock.now
    while clock.now < began + 1000:
        live.update(slow)
        clock.now += 0.1
    assert 0.05 < spent / 1000 < 0.11


@pytest.mark.parametrize("hours", [0.1, 1, 24, 24 * 7])
def test_a_run_of_any_length_is_shown_with_fewer_than_1000_messages(page, clock, hours):
    live, seconds = LiveFigure(), hours * 3600
    step = seconds / 20_000
    last = 0.0
    for _ in range(20_000):
        clock.now += step
        if live.update(tiny_blank):
            last = clock.now
    assert page.messages < 1000
    assert last > clock.now - 0.02 * seconds


def tiny_blank():
    return BLANK


BLANK = new_figure(0.02, 0.02)


def test_after_the_maximum_only_forced_updates_are_shown(page, clock):
    live = LiveFigure(max_updates=3)
    for _ in range(5):
        live.update(blank)
        clock.now += 1000
    assert live.updates == 3
    assert live.update(blank, force=True)


def test_panels_have_a_fallback_text(page, monkeypatch):
    bundles = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: bundles.append(bundle))
    Panel([], "[sliders]").show()
    assert bundles[0]["text/plain"] == "[sliders]"
    assert "application/vnd.jupyter.widget-view+json" in bundles[0]
