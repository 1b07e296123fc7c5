"""Train a run under a cell: start, pause, resume and stop it while other cells run."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from codial.config import Config
from codial.data import Dataset
from codial.plots.training_curves import Lines
from codial.runs.lock import is_training
from codial.runs.run import Run
from codial.training.background import BackgroundTraining, find_training
from codial.widgets.display import LiveFigure, error_html
from codial.widgets.run_panel import RunPanel

_POLL = 0.1  # seconds between two checks whether the training has ended
_ACTIVE_STATES = {
    "training": "<b>Training.</b>",
    "paused": "<b>Paused</b> after the current step; resume continues, stop saves.",
    "stopping": "<b>Stopping</b> after the current step, then saving ...",
}


class TrainingPanel(RunPanel):
    """Train in a background thread, with buttons and live curves.

        panel = TrainingPanel(config, folder)
        panel.show()
        panel.start()

    Other cells can run meanwhile. To wait for the result, use `run = await panel.until_done()` in a cell, during which
    the buttons still work (with ipykernel 7.4 or later), or `panel.wait()` elsewhere. Interrupting a waiting cell stops
    the run after the current step and saves it. The exception that ended the training is raised there. A second panel
    for a run that this process is training controls the same training.

    Args:
        config: All settings.
        folder: Folder of the run.
        images: Training images; by default `config.data` is loaded.
        root: Folder of the data sets.
        others: Folders of runs to overlay.
        live: The figure that is updated.
    """

    hint = "Start resumes from the last checkpoint."

    def __init__(
        self,
        config: Config,
        folder: str | Path,
        *,
        images: Dataset | None = None,
        root: str | Path | None = None,
        others: Sequence[str | Path] = (),
        live: LiveFigure | None = None,
    ) -> None:
        super().__init__(folder, others, live)
        training = find_training(folder)  # started by another panel, such as before this cell was run again
        if training is None or training.config != config:
            training = BackgroundTraining(config, folder, images, root)
        self.config = config
        self.training = training
        self.buttons = {
            "start": self._button("start", "train, from the last checkpoint if there is one", self.start),
            "pause": self._button("pause", "pause after the current step", self._pause_or_resume),
            "stop": self._button("stop", "stop after the current step, and save", self.stop),
        }

    def start(self) -> None:
        """Train, from the last checkpoint if there is one; nothing happens if it is already training."""
        self.training.start()
        self.follow()

    def pause(self) -> None:
        """Pause after the current step."""
        self.training.pause()
        self.update()

    def resume(self) -> None:
        """End a pause."""
        self.training.resume()
        self.update()

    def stop(self) -> None:
        """Stop after the current step, and save; `start` resumes from there."""
        self.training.stop()
        self.update()

    def wait(self) -> Run:
        """Wait until the training ends and return the run, which is not finished if it was stopped.

        A pause is ended first, since buttons do not work while a cell waits like this.

        Raises:
            CodialError: The training was never started.
            Exception: The exception that ended the training.
        """
        try:
            self.resume()
            self._wait()
        except KeyboardInterrupt:
            self.stop()
            self._wait()
        return self._result()

    async def until_done(self) -> Run:
        """Wait as `wait` does, but let the kernel handle buttons meanwhile and keep a pause."""
        try:
            await self._wait_async()
        except (KeyboardInterrupt, asyncio.CancelledError):  # an interrupt becomes either, depending on ipykernel
            self.stop()
            await self._wait_async()
        return self._result()

    def state(self) -> str:
        """Return the state of the training in one sentence of HTML, and enable the buttons that apply."""
        state = self.training.state
        is_active = state in _ACTIVE_STATES
        self.buttons["start"].disabled = is_active
        self.buttons["pause"].disabled = self.buttons["stop"].disabled = not is_active or state == "stopping"
        self.buttons["pause"].description = "resume" if state == "paused" else "pause"
        if is_active:
            return _ACTIVE_STATES[state]
        if self.training.error:
            return error_html(self.training.error)
        return super().state() if (self.folder / "config.json").exists() else "<b>Ready.</b> Press start."

    def _is_live(self) -> bool:
        return self.training.state in _ACTIVE_STATES or is_training(self.folder)

    def _read(self) -> tuple[Lines, Config]:
        return super()._read() if self._exists else ([], self.config)

    def _pause_or_resume(self) -> None:
        if self.training.state == "paused":
            self.resume()
        else:
            self.pause()

    def _wait(self) -> None:
        while self.training.state in _ACTIVE_STATES:
            time.sleep(_POLL)

    async def _wait_async(self) -> None:
        while self.training.state in _ACTIVE_STATES:
            await asyncio.sleep(_POLL)

    def _result(self) -> Run:
        self.update(force=True)
        return self.training.result()
