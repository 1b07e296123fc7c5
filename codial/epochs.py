"""The epochs of a run: keep the weights of each while it is trained, and open those that were kept."""

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codial.checkpoints import DAMAGED, LAST, read_note
from codial.errors import CodialError
from codial.models import Trunk
from codial.runs import Run, open_run


class KeepEpochs:
    """Keep the checkpoints that training replaces; pass it to `codial.pretrain` as `on_log`.

    Of itself a run keeps the last checkpoint, the one before and the best. This adds epoch-N.safetensors for each epoch
    at whose end it was saved (`train.checkpoint_every`), the last apart, which stays where it is. It looks whenever a
    line of history is written, so each epoch needs one: `train.monitor_every=1`, or a `train.log_every` of no more
    steps than an epoch has.

    Args:
        folder: of the run.
        every: keep only epochs that are its multiples.
    """

    def __init__(self, folder: str | Path, every: int = 1) -> None:
        self.folder, self.every = Path(folder), every

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Keep the last checkpoint under its epoch's name, if it is of an epoch's end and not kept yet."""
        last = self.folder / "checkpoints" / LAST
        if not last.exists():
            return
        note, epochs = read_note(last), open_run(self.folder).config.train.epochs
        kept = last.with_name(f"epoch-{note['epoch']}.safetensors")
        at_an_end = note["steps"] and note["step"] * epochs % note["steps"] == 0
        if not at_an_end or note["epoch"] % self.every or kept.exists():
            return
        try:
            os.link(last, kept)  # training replaces files, and changes none
        except OSError:
            shutil.copyfile(last, kept)


def earlier_epochs(run: Run) -> dict[str, Trunk]:
    """Return the trunks of a run's kept checkpoints but the last, from the first to the last, by run and epoch.

    A checkpoint that is damaged is named in a warning, and left out; of two of one step one is enough.
    """
    found: dict[int, tuple[str, Trunk]] = {}
    for path in sorted((run.folder / "checkpoints").glob("*.safetensors")):
        if path.name in (LAST, DAMAGED):
            continue
        try:
            note = read_note(path)
            if note["step"] < run.progress["step"]:
                found[note["step"]] = (f"{run.config.name}, epoch {note['epoch']}", run.trunk(path.stem))
        except CodialError as error:
            warnings.warn(f"Left out: {error}", stacklevel=2)
    return dict(found[step] for step in sorted(found))
