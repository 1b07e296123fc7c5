"""Static and live figures in notebooks, as PNG images that are stored in the notebook file.

A display handle whose image is replaced works in JupyterLab, under papermill and under nbval; clearing the output and
displaying anew flickers in the first and fails in the last.
"""

import base64
import time
from collections.abc import Callable, Sequence
from html import escape

import ipywidgets
from IPython.display import DisplayHandle, Image, display
from matplotlib.figure import Figure

from codial.errors import CodialError
from codial.plots.style import png
from codial.plots.tooltips import png_with_tooltips
from codial.widgets.tooltips import figure_html


def show(figure: Figure) -> None:
    """Display a figure, with a tooltip on each bar or point that has one (`codial.plots.tooltips`)."""
    image, tooltips = png_with_tooltips(figure)
    static = Image(image, format="png")
    if not tooltips:
        display(static)
        return
    bundle = {"text/html": figure_html(image, tooltips), "image/png": base64.b64encode(image).decode()}
    display({**bundle, "text/plain": repr(static)}, raw=True)


class LiveFigure:
    """A displayed figure whose image is replaced while work goes on.

    Updates that come too fast are skipped, so that drawing takes at most a tenth of the time and the notebook server
    gets fewer than 1,000 messages: the pause between updates grows with the elapsed time.

    Args:
        pause: Minimum seconds between two updates.
        max_updates: Number of updates after which only forced ones are shown.
    """

    def __init__(self, pause: float = 0.5, max_updates: int = 900) -> None:
        self.pause = pause
        self.max_updates = max_updates
        self.updates = 0
        self._handle: DisplayHandle | None = None
        self._started = self._next = time.monotonic()

    def move(self) -> None:
        """Display the next image anew, under the cell that is running then."""
        self._handle = None
        self.restart()

    def restart(self) -> None:
        """Reset the clock: the next update is shown at once, and the following ones as often as at the start."""
        self._started = self._next = time.monotonic()

    def update(self, draw: Callable[[], Figure], force: bool = False) -> bool:
        """Draw and show the figure, unless the last update was too recent.

        Args:
            draw: Returns the figure; called only if it is shown.
            force: Whether to show it in any case, as after the last step.

        Returns:
            Whether it was shown.
        """
        start = time.monotonic()
        if not force and (start < self._next or self.updates >= self.max_updates):
            return False
        image = Image(png(draw()), format="png")
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)
        self.updates += 1
        now = time.monotonic()
        self._next = now + max(self.pause, 9 * (now - start), (now - self._started) / 100)
        return True


class Panel:
    """A column of widgets, with a text for where widgets cannot be shown, such as a notebook on GitHub.

    Args:
        children: The widgets.
        fallback: The text stored in the notebook file.
    """

    def __init__(self, children: Sequence[ipywidgets.Widget], fallback: str) -> None:
        self.box = ipywidgets.VBox(list(children))
        self.fallback = fallback

    def show(self) -> None:
        """Display the widgets."""
        view = self.box._repr_mimebundle_() or {}
        display({**view, "text/plain": self.fallback}, raw=True)


def error_html(error: Exception) -> str:
    """Return an error as HTML for a panel; JupyterLab does not show errors in callbacks."""
    kind = "" if isinstance(error, CodialError) else f"<b>{type(error).__name__}:</b> "
    return f"⚠ {kind}{escape(str(error))}"


def read_only_field(text: str, name: str, rows: int = 3) -> str:
    """Return HTML of a read-only text field; a click or Tab selects all of its text, so that Ctrl+C copies it."""
    return (
        f'<textarea readonly rows="{rows}" aria-label="{name}" title="{name}" style="{_FIELD_STYLE}"'
        f' onfocus="this.select()">{escape(text)}</textarea>'
    )


_FIELD_STYLE = (
    "width: 100%; box-sizing: border-box; resize: none; font-family: var(--jp-code-font-family);"
    " color: var(--jp-ui-font-color1); background: var(--jp-layout-color1); border: 1px solid var(--jp-border-color1)"
)
