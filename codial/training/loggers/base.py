"""What a logger does, and the registration of one's own."""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from codial.config.registry import LOGGERS

L = TypeVar("L", bound=type)


class Logger:
    """Base class of loggers, which does nothing; a logger overrides the methods that it needs.

    One object logs one run from its start, or from where it is resumed, to its end; only the main process logs. What a
    method raises stops neither the run nor other loggers: it becomes a warning, and the logger is closed.

    Attributes:
        package: module that must be installed, which is checked before training; empty if there is none.
    """

    package: ClassVar[str] = ""

    def start(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Start, or continue what was logged before the run was interrupted.

        Args:
            folder: folder of this logger in the run's folder, RUN/loggers/NAME; it exists, and is kept on resuming.
            settings: all settings by dotted name, such as "train.lr"; "name" is the run's label. Values are those of
                JSON.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log one line of the history; each line comes once and in order, also if the run is interrupted.

        Args:
            step: number of training steps so far; a line of monitors may follow a line of losses of the same step.
            values: numbers by name, such as "train/loss" or "monitor/knn".
        """

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Log an image: "views", sample views (a row for each training image), or "map", the map of features.

        Args:
            step: number of training steps so far.
            name: of the image.
            image: [3, H, W] float32 in [0, 1], on the CPU.
        """

    def close(self, status: str) -> None:
        """Finish, so that everything is written.

        Args:
            status: "finished", "stopped" (to be resumed) or "failed".
        """


def register_logger(name: str) -> Callable[[L], L]:
    """Return a class decorator that registers a logger, so that `train.loggers` may contain `name`.

        @codial.training.register_logger("printer")
        class Printer(codial.training.Logger):
            def scalars(self, step, values):
                print(step, values)

    Raises:
        CodialError: the name is invalid or taken by another class, or the class lacks a method of `Logger`.
    """
    return LOGGERS.register(name)


def stored_id(folder: Path, create: Callable[[], str] = lambda: uuid.uuid4().hex[:12]) -> str:
    """Return the id of a logged run, which is created once and kept in the logger's folder."""
    path = folder / "id"
    if not path.exists():
        path.write_text(create())
    return path.read_text()


def to_pixels(image: Tensor) -> Any:
    """Return an image [3, H, W] in [0, 1] as a numpy array [H, W, 3] uint8."""
    return image.mul(255).round().byte().permute(1, 2, 0).numpy()
