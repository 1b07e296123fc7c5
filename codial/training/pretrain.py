"""Pretraining of a run: train, resume, or return the finished run."""

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from codial.config import Config
from codial.data import Dataset, load_images
from codial.runs.create import create_run
from codial.runs.lock import run_lock
from codial.runs.metadata import LAST
from codial.runs.run import Run, open_run
from codial.training.loggers.session import logged, require_packages
from codial.training.signals import stop_on_interrupt
from codial.training.trainer import OnLog, Trainer
from codial.utils.devices import choose_device, describe_device
from codial.utils.distributed import process_group


def pretrain(
    config: Config,
    out: str | Path,
    *,
    images: Dataset | None = None,
    root: str | Path | None = None,
    stop: threading.Event | None = None,
    pause: threading.Event | None = None,
    on_log: OnLog | None = None,
    progress: bool = True,
) -> Run:
    """Train, resume, or return the finished run.

    Ctrl-C or `stop` saves the run after the current step. Calling `pretrain` again resumes it, with the same results as
    without interruption (on the same machine with the same number of threads); the loggers, `train.loggers`, and the
    device may be others then. Under `torchrun`, all processes train one run and share every batch; the main process
    writes the folder and logs.

    Args:
        config: config of the run.
        out: folder of the run.
        images: training images; loaded as `config.data` says if omitted.
        root: folder of the data sets; see `codial.load_images`.
        stop: event that stops the run, to be set from another thread.
        pause: event that pauses the run between two steps while it is set; for runs of one process. The history does
            not count this time.
        on_log: function that is called with every line of the history.
        progress: whether to show a progress bar.

    Returns:
        The run; `run.finished` is False if it was stopped.

    Raises:
        CodialError: the folder holds another run or is being trained by another process, the images cannot be loaded,
            the package of a logger is not installed, or the loss is NaN or infinite.
    """
    folder = Path(out)
    if (folder / "config.json").exists() and _is_complete(create_run(folder, config, _describe(images), "")):
        return open_run(folder)
    require_packages(config.train.loggers)
    with process_group() as processes:
        if images is None:
            data = config.data
            images = load_images(data.source, data.split, root=root, size=data.size, limit=data.limit, seed=config.seed)
        device = choose_device(config.train.device)
        lock = run_lock(folder) if processes.is_main else nullcontext()
        with lock, stop_on_interrupt(stop or threading.Event()) as stop:
            if processes.is_main:
                create_run(folder, config, _describe(images), describe_device(device, config.train.precision))
            processes.barrier()
            trainer = Trainer(Run(folder, config), images, device, processes, on_log)
            with logged(trainer):
                trainer.train(stop, pause or threading.Event(), progress)
    return open_run(folder)


def _is_complete(run: Run) -> bool:
    """Return whether a run is finished and its last checkpoint is valid."""
    return run.finished and run.checkpoint().name == LAST


def _describe(images: Dataset | None) -> dict[str, Any]:
    if images is None:
        return {}
    return {"name": images.name, "split": images.split, "count": len(images), "fingerprint": images.fingerprint}
