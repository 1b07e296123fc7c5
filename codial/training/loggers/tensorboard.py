"""The logger `tensorboard`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codial.training.loggers.base import Logger


class TensorBoard(Logger):
    """Event files of TensorBoard in RUN/loggers/tensorboard; `tensorboard --logdir runs` shows all runs."""

    package = "tensorboard"

    def start(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open a new event file, and log the settings as a table; TensorBoard joins the files of a folder."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))
        rows = [f"| {name} | {json.dumps(value)} |" for name, value in settings.items()]
        self.writer.add_text("config", "\n".join(["| setting | value |", "|---|---|", *rows]))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log curves."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()  # so that a killed run loses no lines

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Log an image."""
        self.writer.add_image(name, image, step)

    def close(self, status: str) -> None:
        """Close the event file."""
        self.writer.close()
