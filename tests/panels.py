"""Helpers of the panels' tests: a figure that keeps what is drawn, waiting, and reading text."""

import re
import time
from html import unescape

from codial.widgets.display import LiveFigure


class Screen(LiveFigure):
    """A live figure that draws every update; it keeps all headlines, but only the last figure, of up to a megabyte."""

    def __init__(self):
        super().__init__()
        self.last, self.headlines = None, []

    def update(self, draw, force=False):
        self.last = draw()
        self.headlines.append(self.last.get_suptitle())
        self.updates += 1
        return True


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def text_of(widget):
    return unescape(re.sub("<[^>]*>", "", widget.value.replace("<br>", "\n")))
