"""A run trained on a thread of its own, so that whoever started it can go on, pause it and stop it."""

import threading
import weakref
from pathlib import Path

from codial.config import Config
from codial.data import Pictures
from codial.errors import CodialError
from codial.pretrain import pretrain
from codial.runs import Run, open_run


class Background:
    """Train a run on a thread: start, pause, resume and stop it from any other one.

    The numbers are those of `codial.pretrain` in the foreground, unless somebody else draws from torch's global random
    numbers in the very moment in which the run's first weights are drawn. The thread prints nothing, and ends with the
    process; what it had not saved by then is trained again.

    Args:
        config: all settings.
        folder: of the run.
        images: pictures to learn from; `config.data` is loaded when left out.
        root: where data sets lie.
    """

    def __init__(
        self, config: Config, folder: str | Path, images: Pictures | None = None, root: str | Path | None = None
    ) -> None:
        self.config, self.folder = config, Path(folder)
        self.images, self.root = images, root
        self.error: Exception | None = None
        self._stop, self._pause = threading.Event(), threading.Event()
        self._thread: _Training | None = None
        self._starting = threading.Lock()

    @property
    def state(self) -> str:
        """One of training, paused, stopping; and, when nothing goes on, idle or failed (see `error`)."""
        if self._thread is not None and self._thread.is_alive():
            return "stopping" if self._stop.is_set() else "paused" if self._pause.is_set() else "training"
        return "failed" if self.error else "idle"

    def start(self) -> None:
        """Train, from the last checkpoint if there is one; nothing happens while it is trained already."""
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return
            self.error = None
            self._stop, self._pause = threading.Event(), threading.Event()
            self._thread = _Training(self)
            self._thread.start()
            weakref.finalize(self, _leave, self._stop, self._thread)

    def pause(self) -> None:
        """Wait after the step under way; weights and position stay in memory."""
        self._pause.set()

    def resume(self) -> None:
        """End a pause."""
        self._pause.clear()

    def stop(self) -> None:
        """End after the step under way, and save; `start` goes on from there."""
        self._stop.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait until nothing goes on, or for some seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def result(self) -> Run:
        """Wait until nothing goes on, and return the run; it is not finished if it was stopped.

        Raises:
            CodialError: it was never started.
            Exception: what ended it.
        """
        if self._thread is None:
            raise CodialError(f"Nothing trains {self.folder}: call start() first.")
        self._thread.join()
        if self.error:
            raise self.error
        return open_run(self.folder)

    def train(self) -> None:
        """Train here and now, as `start` does on a thread; what goes wrong is kept in `error`."""
        try:
            pretrain(
                self.config,
                self.folder,
                images=self.images,
                root=self.root,
                stop=self._stop,
                pause=self._pause,
                progress=False,
            )
        except Exception as error:  # nobody would see it here; whoever looks at `error` does
            self.error = error


class _Training(threading.Thread):
    """The thread; it knows whose it is as long as it goes on."""

    def __init__(self, owner: Background) -> None:
        super().__init__(name=f"training {owner.folder.name}", daemon=True)
        self.owner: Background | None = owner

    def run(self) -> None:
        assert self.owner is not None
        self.owner.train()
        self.owner = None


def under_way(folder: str | Path) -> Background | None:
    """Return what trains a folder in this process right now, if anything does."""
    owners = [thread.owner for thread in threading.enumerate() if isinstance(thread, _Training)]
    place = Path(folder).resolve()
    return next((owner for owner in owners if owner is not None and owner.folder.resolve() == place), None)


def _leave(stop: threading.Event, thread: threading.Thread) -> None:
    """Let the thread end before the process does: one that is in the middle of a step would crash it."""
    stop.set()
    if thread is not threading.current_thread():  # which may be the last to know its owner
        thread.join(30)
