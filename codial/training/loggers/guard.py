"""A logger of a run behind a guard: it gets each line of the history once, and is switched off when it raises."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from codial.config.registry import LOGGERS
from codial.training.loggers.base import Logger
from codial.utils.atomic_io import append_line, make_folder

_LOGGED = "logged.txt"  # in the logger's folder: the step of each line that was logged


class GuardedLogger:
    """A logger of a run.

    What it raises becomes a warning, after which it is closed and called no more. Lines that it logged before an
    interruption are not sent again when the run repeats their steps; lines that it missed are.

    Args:
        name: name of the logger.
        folder: folder of the logger.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._logger: Logger | None = None  # while it is switched on
        self._position = 0  # of the next line in the history
        self._logged = 0  # number of lines that were logged before the start

    @property
    def is_new(self) -> bool:
        """Whether nothing was logged before the start."""
        return self._logged == 0

    def start(self, settings: Mapping[str, Any]) -> None:
        """Create the logger and start it; `settings` as for `Logger.start`."""
        with self._guard("start"):
            make_folder(self.folder)
            path = self.folder / _LOGGED
            self._logged = path.read_text().count("\n") if path.exists() else 0
            self._logger = LOGGERS.get(self.name)()
            self._logger.start(self.folder, settings)

    def line(self, line: Mapping[str, Any]) -> None:
        """Log the next line of the history, unless it was logged before an interruption."""
        self._position += 1
        if self._logger is None or self._position <= self._logged:
            return
        values = {
            f"{line['kind']}/{name}": value
            for name, value in line.items()
            if name not in ("kind", "step") and isinstance(value, int | float)
        }
        with self._guard("scalars"):
            self._logger.scalars(line["step"], values)
            append_line(self.folder / _LOGGED, str(line["step"]))

    def image(self, step: int, name: str, image: Callable[[], Tensor]) -> None:
        """Log the image that a function returns; other arguments as for `Logger.image`."""
        if self._logger is not None:
            with self._guard("image"):
                self._logger.image(step, name, image().clone())  # which the logger may change

    def close(self, status: str) -> None:
        """Close the logger; `status` as for `Logger.close`."""
        if self._logger is not None:
            with self._guard("close"):
                logger, self._logger = self._logger, None
                logger.close(status)

    @contextmanager
    def _guard(self, method: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:  # whatever a logger, its package or its server raises
            logger, self._logger = self._logger, None
            if logger is not None:
                with suppress(Exception, SystemExit):
                    logger.close("failed")
            warnings.warn(
                f"Logger {self.name!r} is switched off, since {method}() raised {type(error).__name__}: {error}. The"
                " run goes on without it; its history is complete.",
                stacklevel=2,
            )
