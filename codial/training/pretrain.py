"""Pretraining of a run: train, resume, or return the finished run."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from codial.config import Config
from codial.data import Dataset, load_images
from codial.data.registry import absolute_source
from codial.runs.create import create_run
from codial.runs.lock import run_lock
from codial.runs.metadata import LAST
from codial.runs.run import Run, open_run
from codial.training.loggers.session import logged, require_packages
from codial.training.trainer import OnLog, Trainer
from codial.utils.devices import choose_device, describe_device
from codial.utils.distributed import process_group
from codial.utils.machine_errors import explained_machine_errors
from codial.utils.signals import stopped_by_signals


@explained_machine_errors()
def pretrain(
    config: Config,
    out: str | Path,
    *,
    images: Dataset | None = None,
    root: str | Path | None = None,
    stop: threading.Event | None = None,
    pause: threading.Event | None = None,
    on_start: Callable[[Trainer], None] | None = None,
    on_log: OnLog | None = None,
    progress: bool = True,
) -> Run:
    """Train, resume, or return the finished run.

    Ctrl-C, SIGTERM, SIGUSR1 and the like (`codial.utils.signals`) or `stop` save the run after the current step; a
    second Ctrl-C aborts. Calling `pretrain` again resumes it, with the same results as without interruption (on the
    same machine with the same number of threads); the loggers, `train.loggers`, and the device may be others then.
    Under `torchrun`, all processes train one run and share every batch; the main process writes the folder and logs.

    Args:
        config: config of the run; a folder of images is stored with its absolute path.
        out: folder of the run.
        images: training images; loaded as `config.data` says if omitted.
        root: folder of the data sets; see `codial.load_images`.
        stop: event that stops the run, to be set from another thread.
        pause: event that pauses the run between two steps while it is set; for runs of one process. The history does
            not count this time.
        on_start: function that the main process calls with the trainer before training.
        on_log: function that is called with every line of the history.
        progress: whether to show a progress bar.

    Returns:
        The run; `run.finished` is False if it was stopped.

    Raises:
        CodialError: the folder holds another run or is being trained by another process, the images cannot be loaded,
            the package of a logger is not installed, or the loss is NaN or infinite.
    """
    folder = Path(out)
    config = replace(config, data=replace(config.data, source=absolute_source(config.data.source)))
    if (folder / "config.json").exists() and _is_complete(create_run(folder, config, _describe(images), "")):
        return open_run(folder)
    require_packages(config.train.loggers)
    with process_group() as processes:
        if images is None:
            data = config.data
            images = load_images(data.source, data.split, root=root, size=data.size, limit=data.limit, seed=config.seed)
        device = choose_device(config.train.device)
        lock = run_lock(folder) if processes.is_main else nullcontext()
        with lock, stopped_by_signals(stop or threading.Event(), may_abort=processes.size == 1) as stop:
            if processes.is_main:
                create_run(folder, config, _describe(images), describe_device(device, config.train.precision))
            processes.barrier()
            trainer = Trainer(Run(folder, config), images, device, processes, on_log)
            if on_start and processes.is_main:
                on_start(trainer)
            with logged(trainer):
                trainer.train(stop, pause or threading.Event(), progress)
    return open_run(folder)


def _is_complete(run: Run) -> bool:
    """Return whether a run is finished and its last checkpoint is valid."""
    return run.finished and run.checkpoint().name == LAST


def _describe(images: Dataset | None) -> dict[str, Any]:
    if images is None:
        return {}
    described = {"name": images.name, "split": images.split, "count": len(images), "fingerprint": images.fingerprint}
    return described | {"labeled": images.labeled}
