"""Show figures in a notebook, still or changing, as PNG pictures that stay in its file.

One display handle whose picture is replaced works alike in JupyterLab, under papermill and under nbval; clearing and
drawing anew flickers in the first and fails in the last.
"""

import base64
import time
from collections.abc import Callable, Sequence
from html import escape

import ipywidgets
from IPython.display import DisplayHandle, Image, display
from matplotlib.figure import Figure

from codial.errors import CodialError
from codial.plots.hover import with_spots
from codial.plots.style import png
from codial.widgets.values import values


def show(figure: Figure) -> None:
    """Show a figure under the cell; bars and points that have words (`plots.hover.tell`) tell them when pointed at."""
    picture, spots = with_spots(figure)
    still = Image(picture, format="png")
    if not spots:
        display(still)
        return
    told = {"text/html": values(picture, spots), "image/png": base64.b64encode(picture).decode()}
    display({**told, "text/plain": repr(still)}, raw=True)


class LiveFigure:
    """A figure under the cell whose picture is replaced as work goes on.

    Updates that come too fast are left out, so that drawing takes a tenth of the time at most and the notebook server
    gets fewer than 1,000 messages: the pause between two grows with the time that has passed.

    Args:
        pause: least seconds between two updates.
        most: updates after which only forced ones are shown.
    """

    def __init__(self, pause: float = 0.5, most: int = 900) -> None:
        self.pause, self.most = pause, most
        self.updates = 0
        self._handle: DisplayHandle | None = None
        self._started = self._next = time.monotonic()

    def move(self) -> None:
        """Let the next picture be one of its own, under the cell that is run then."""
        self._handle = None
        self.restart()

    def restart(self) -> None:
        """Count from now: the next picture comes at once, and those after it as often as the first ones did."""
        self._started = self._next = time.monotonic()

    def update(self, draw: Callable[[], Figure], force: bool = False) -> bool:
        """Draw and show the figure, unless the last one was shown just now.

        Args:
            draw: makes the figure; called only if it is to be shown.
            force: show it in any case, as after the last step.

        Returns:
            Whether it was shown.
        """
        began = time.monotonic()
        if not force and (began < self._next or self.updates >= self.most):
            return False
        picture = Image(png(draw()), format="png")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
        self.updates += 1
        now = time.monotonic()
        self._next = now + max(self.pause, 9 * (now - began), (now - self._started) / 100)
        return True


class Panel:
    """Widgets one below the other, with words for where no widget can be shown, such as a notebook on GitHub.

    Args:
        children: the widgets.
        words: what is stored in the notebook's file.
    """

    def __init__(self, children: Sequence[ipywidgets.Widget], words: str) -> None:
        self.box = ipywidgets.VBox(list(children))
        self.words = words

    def show(self) -> None:
        """Show the widgets under the cell."""
        view = self.box._repr_mimebundle_() or {}
        display({**view, "text/plain": self.words}, raw=True)


def told(error: Exception) -> str:
    """Return an error as HTML for a panel, for JupyterLab hides those of callbacks."""
    kind = "" if isinstance(error, CodialError) else f"<b>{type(error).__name__}:</b> "
    return f"⚠ {kind}{escape(str(error))}"


def read_only(text: str, name: str, rows: int = 3) -> str:
    """Return HTML of a field whose text can be read and copied: a click or Tab selects all of it, Ctrl+C copies."""
    return (
        f'<textarea readonly rows="{rows}" aria-label="{name}" title="{name}" style="{_FIELD}"'
        f' onfocus="this.select()">{escape(text)}</textarea>'
    )


_FIELD = (
    "width: 100%; box-sizing: border-box; resize: none; font-family: var(--jp-code-font-family);"
    " color: var(--jp-ui-font-color1); background: var(--jp-layout-color1); border: 1px solid var(--jp-border-color1)"
)
