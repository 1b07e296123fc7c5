"""Training in a background thread that can be paused and stopped."""

import threading
import weakref
from pathlib import Path

from codial.config import Config
from codial.data import Dataset
from codial.errors import CodialError
from codial.runs.run import Run, open_run
from codial.training.pretrain import pretrain

_EXIT_TIMEOUT = 30  # seconds to wait for a step at the end of the process


class BackgroundTraining:
    """Train a run in a thread; start, pause, resume and stop it from any other thread.

    The results are those of `codial.pretrain`, unless another thread uses torch's global random generator while the
    weights are initialized. The thread prints nothing, except for what loggers print, and ends with the process; steps
    since the last checkpoint are repeated by the next start.

    Args:
        config: config of the run.
        folder: folder of the run.
        images: training images; loaded as `config.data` says if omitted.
        root: folder of the data sets.

    Attributes:
        error: exception that ended the training, or None.
    """

    def __init__(
        self, config: Config, folder: str | Path, images: Dataset | None = None, root: str | Path | None = None
    ) -> None:
        self.config, self.folder = config, Path(folder)
        self.images, self.root = images, root
        self.error: Exception | None = None
        self._stop, self._pause = threading.Event(), threading.Event()
        self._thread: _TrainingThread | None = None
        self._start_lock = threading.Lock()

    @property
    def state(self) -> str:
        """`training`, `paused` or `stopping`; `idle` or `failed` (see `error`) if no thread is running."""
        if self._thread is not None and self._thread.is_alive():
            return "stopping" if self._stop.is_set() else "paused" if self._pause.is_set() else "training"
        return "failed" if self.error else "idle"

    def start(self) -> None:
        """Start training, from the last checkpoint if there is one; do nothing if it is running."""
        with self._start_lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self.error = None
            self._stop, self._pause = threading.Event(), threading.Event()
            self._thread = _TrainingThread(self)
            self._thread.start()
            weakref.finalize(self, _stop_and_join, self._stop, self._thread)

    def pause(self) -> None:
        """Pause after the current step; weights and position stay in memory."""
        self._pause.set()

    def resume(self) -> None:
        """End a pause."""
        self._pause.clear()

    def stop(self) -> None:
        """Stop after the current step, and save; `start` resumes the run."""
        self._stop.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the thread ends, for at most some seconds if given."""
        if self._thread is not None:
            self._thread.join(seconds)

    def result(self) -> Run:
        """Wait until the thread ends, and return the run; it is not finished if it was stopped.

        Raises:
            CodialError: training was never started.
            Exception: the exception that ended the training.
        """
        if self._thread is None:
            raise CodialError(f"Training of {self.folder} was not started: call start() first.")
        self._thread.join()
        if self.error:
            raise self.error
        return open_run(self.folder)

    def train(self) -> None:
        """Train in the current thread, as `start` does in a new one; an exception is kept in `error`."""
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
        except Exception as error:  # result() raises it
            self.error = error


class _TrainingThread(threading.Thread):
    """Thread that refers to its owner while it runs."""

    def __init__(self, owner: BackgroundTraining) -> None:
        super().__init__(name=f"training {owner.folder.name}", daemon=True)
        self.owner: BackgroundTraining | None = owner

    def run(self) -> None:
        assert self.owner is not None
        self.owner.train()
        self.owner = None


def find_training(folder: str | Path) -> BackgroundTraining | None:
    """Return the background training of a folder that is running in this process, or None."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _TrainingThread)]
    resolved = Path(folder).resolve()
    for owner in (thread.owner for thread in threads):
        if owner is not None and owner.folder.resolve() == resolved:
            return owner
    return None


def _stop_and_join(stop: threading.Event, thread: threading.Thread) -> None:
    """Stop the thread before the process ends, which would crash in the middle of a step."""
    stop.set()
    if thread is not threading.current_thread():  # the finalizer may run in the thread itself
        thread.join(_EXIT_TIMEOUT)
