"""Train a run under a cell: start, pause, resume and stop it while other cells work."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from codial.background import Background, under_way
from codial.claims import being_trained
from codial.config import Config
from codial.data import Pictures
from codial.plots.history import Lines
from codial.runs import Run
from codial.widgets.display import LiveFigure, told
from codial.widgets.watching import RunPanel

_GLANCE = 0.1  # seconds between two looks at whether the training is over
_SAID = {
    "training": "<b>Training.</b>",
    "paused": "<b>Paused</b> after the step under way; resume goes on, stop saves.",
    "stopping": "<b>Stopping</b> after the step under way, then saving ...",
}


class TrainingPanel(RunPanel):
    """Train on a thread of its own, with buttons, while its curves grow.

        panel = TrainingPanel(config, folder)
        panel.show()
        panel.start()

    Then other cells can be run. What needs the result waits for it, in a cell by `run = await panel.until_done()`, in
    which the buttons go on answering (with ipykernel 7.4 or later), elsewhere by `panel.wait()`. Interrupting a cell
    that waits stops the run after the step under way, saved. What ended the training is raised there. A second panel on
    a run that this process is training has the same training in hand.

    Args:
        config: all settings.
        folder: of the run.
        images: pictures to learn from; `config.data` is loaded when left out.
        root: where data sets lie.
        others: folders of runs that are laid over it.
        live: the figure under the cell.
    """

    hint = "Start goes on from its last checkpoint."

    def __init__(
        self,
        config: Config,
        folder: str | Path,
        *,
        images: Pictures | None = None,
        root: str | Path | None = None,
        others: Sequence[str | Path] = (),
        live: LiveFigure | None = None,
    ) -> None:
        super().__init__(folder, others, live)
        trained = under_way(folder)  # by a panel whose cell is run again
        if trained is None or trained.config != config:
            trained = Background(config, folder, images, root)
        self.config, self.training = config, trained
        self.buttons = {
            "start": self._button("start", "train, from the last checkpoint if there is one", self.start),
            "pause": self._button("pause", "wait after the step under way", self._pause_or_resume),
            "stop": self._button("stop", "end after the step under way, and save", self.stop),
        }

    def start(self) -> None:
        """Train, from the last checkpoint if there is one; nothing happens while it is trained already."""
        self.training.start()
        self.follow()

    def pause(self) -> None:
        """Wait after the step under way."""
        self.training.pause()
        self.update()

    def resume(self) -> None:
        """End a pause."""
        self.training.resume()
        self.update()

    def stop(self) -> None:
        """End after the step under way, and save; `start` goes on from there."""
        self.training.stop()
        self.update()

    def wait(self) -> Run:
        """Wait until nothing goes on, and return the run, which is not finished if it was stopped.

        A pause is ended, for no button answers while a cell waits like this.

        Raises:
            CodialError: it was never started.
            Exception: what ended the training.
        """
        try:
            self.resume()
            self._sleep()
        except KeyboardInterrupt:
            self.stop()
            self._sleep()
        return self._result()

    async def until_done(self) -> Run:
        """Do as `wait`, but let the kernel answer buttons meanwhile; a pause is kept."""
        try:
            await self._doze()
        except (KeyboardInterrupt, asyncio.CancelledError):  # which of them an interrupt becomes is ipykernel's choice
            self.stop()
            await self._doze()
        return self._result()

    def state(self) -> str:
        """Say in one sentence how the training is, and let the buttons fit."""
        state = self.training.state
        busy = state in _SAID
        self.buttons["start"].disabled = busy
        self.buttons["pause"].disabled = self.buttons["stop"].disabled = not busy or state == "stopping"
        self.buttons["pause"].description = "resume" if state == "paused" else "pause"
        if busy:
            return _SAID[state]
        if self.training.error:
            return told(self.training.error)
        return super().state() if (self.folder / "config.json").exists() else "<b>Ready.</b> Press start."

    def _live(self) -> bool:
        return self.training.state in _SAID or being_trained(self.folder)

    def _read(self) -> tuple[Lines, Config]:
        return super()._read() if self._met else ([], self.config)

    def _pause_or_resume(self) -> None:
        if self.training.state == "paused":
            self.resume()
        else:
            self.pause()

    def _sleep(self) -> None:
        while self.training.state in _SAID:
            time.sleep(_GLANCE)

    async def _doze(self) -> None:
        while self.training.state in _SAID:
            await asyncio.sleep(_GLANCE)

    def _result(self) -> Run:
        self.update(force=True)
        return self.training.result()
