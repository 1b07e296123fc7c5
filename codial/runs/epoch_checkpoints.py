"""Keeping the checkpoints of earlier epochs, and opening them."""

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codial.errors import CodialError
from codial.models import Backbone
from codial.runs.metadata import LAST, read_metadata
from codial.runs.run import Run, open_run


class KeepEpochs:
    """Callback that keeps the checkpoints of earlier epochs; pass it to `codial.training.pretrain` as `on_log`.

    By default a run keeps its last, previous and best checkpoints. This callback adds epoch-N.safetensors for every
    epoch at whose end a checkpoint was saved (`train.checkpoint_every`), except the last epoch. It is called once per
    line of history, so there must be at least one line per epoch: set `train.monitor_every=1`, or `train.log_every`
    to at most the steps per epoch.

    Args:
        folder: the run's folder.
        every: keep only epochs that are multiples of this number.
    """

    def __init__(self, folder: str | Path, every: int = 1) -> None:
        self.folder = Path(folder)
        self.every = every

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Keep the last checkpoint if it was saved at the end of an epoch and is not kept yet."""
        last = self.folder / "checkpoints" / LAST
        if not last.exists():
            return
        metadata = read_metadata(last)
        epochs = open_run(self.folder).config.train.epochs
        kept = last.with_name(f"epoch-{metadata['epoch']}.safetensors")
        at_epoch_end = metadata["steps"] and metadata["step"] * epochs % metadata["steps"] == 0
        if not at_epoch_end or metadata["epoch"] % self.every or kept.exists():
            return
        try:
            os.link(last, kept)  # training replaces checkpoint files but never modifies them
        except OSError:
            shutil.copyfile(last, kept)


def earlier_epochs(run: Run) -> dict[str, Backbone]:
    """Return the backbones that `KeepEpochs` kept, ordered by epoch.

    Damaged checkpoints are skipped with a warning.

    Returns:
        Backbones by run and epoch, such as "codial/photos, epoch 2".
    """
    backbones: dict[int, tuple[str, Backbone]] = {}
    for path in (run.folder / "checkpoints").glob("epoch-*.safetensors"):
        try:
            epoch = read_metadata(path)["epoch"]
            backbones[epoch] = (f"{run.config.name}, epoch {epoch}", run.backbone(path.stem))
        except CodialError as error:
            warnings.warn(f"Skipped: {error}", stacklevel=2)
    return dict(backbones[epoch] for epoch in sorted(backbones))
