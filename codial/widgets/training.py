"""The curves of a run under the cell that trains it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from codial.plots.history import history
from codial.runs import Run, open_run
from codial.widgets.display import LiveFigure


class LiveTraining:
    """Draw a run's history while it is trained: pass it to `codial.pretrain` as `on_log`, then call `finish`.

        live = LiveTraining(folder)
        run = codial.pretrain(config, folder, on_log=live, progress=False)
        live.finish()

    Training goes on in the foreground; the notebook's stop button (interrupt the kernel) ends it after the step under
    way, saved and ready to go on. What is drawn is what the folder holds, so a run that goes on after a stop is drawn
    from its beginning, and a finished one as it is.

    Args:
        folder: of the run.
        live: the figure under the cell.
    """

    def __init__(self, folder: str | Path, live: LiveFigure | None = None) -> None:
        self.folder = Path(folder)
        self.figure = live or LiveFigure()

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Draw anew, if the last drawing is old enough; the line itself is in the folder already."""
        self.figure.update(self.draw)

    def finish(self) -> Run:
        """Draw the history a last time, and return the run."""
        self.figure.update(self.draw, force=True)
        return open_run(self.folder)

    def draw(self) -> Figure:
        """Return the figure of the history so far."""
        run = open_run(self.folder)
        return history(run.history, run.config)
