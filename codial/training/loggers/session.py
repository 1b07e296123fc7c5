"""Logging of a training from its start to its end."""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from codial.config import flatten
from codial.config.registry import LOGGERS
from codial.errors import CodialError
from codial.training.loggers.guard import GuardedLogger
from codial.training.loggers.images import feature_map, view_grid
from codial.training.trainer import Trainer


def require_packages(names: Iterable[str]) -> None:
    """Check that loggers can be imported and their packages are installed; the packages are not imported.

    Raises:
        CodialError: they cannot, or are not.
    """
    for name in names:
        package = getattr(LOGGERS.get(name), "package", "")
        if package and importlib.util.find_spec(package) is None:
            raise CodialError(
                f"train.loggers has {name!r}, which needs the package {package}: pip install {package}. Or train"
                " without this logger."
            )


@contextmanager
def logged(trainer: Trainer) -> Iterator[None]:
    """Log the training in the block: settings and sample views first, every line of the history, the map at the end.

    Nothing of the run depends on its loggers. The map is drawn when the run is saved.

    Args:
        trainer: training that is about to start; its `on_log` is called as well.
    """
    config, on_log = trainer.config, trainer.on_log
    if not config.train.loggers or not trainer.processes.is_main:
        yield
        return
    loggers = [GuardedLogger(name, trainer.run.folder / "loggers" / name) for name in config.train.loggers]

    def log(line: Mapping[str, Any]) -> None:
        for logger in loggers:
            logger.line(line)
        if on_log:
            on_log(line)

    trainer.on_log = log
    status = "failed"
    try:
        _start(loggers, trainer)
        yield
        status = "finished" if trainer.finished else "stopped"
        if status == "finished":
            _log_map(loggers, trainer)
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        trainer.on_log = on_log
        for logger in loggers:
            logger.close(status)


def _start(loggers: list[GuardedLogger], trainer: Trainer) -> None:
    """Start the loggers, and send those lines of an interrupted run that they lack."""
    settings = dict(flatten(trainer.config))
    history = trainer.run.history
    views = cache(partial(view_grid, trainer.prefetcher.images, trainer.config.views))
    for logger in loggers:
        logger.start(settings)
        if logger.is_new:
            logger.image(0, "views", views)
        for line in history:
            logger.line(line)


def _log_map(loggers: list[GuardedLogger], trainer: Trainer) -> None:
    images, count = trainer.prefetcher.images, trainer.config.train.monitor_images
    draw = cache(partial(feature_map, trainer.method.backbone, images, count, trainer.bf16))
    for logger in loggers:
        logger.image(trainer.state.step, "map", draw)
