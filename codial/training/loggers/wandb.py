"""The logger `wandb`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codial.training.loggers.base import Logger, stored_id, to_pixels


class WandB(Logger):
    """Weights & Biases, offline in RUN/loggers/wandb: `wandb sync RUN/loggers/wandb/wandb/offline-run-*` uploads it.

    With the environment variable WANDB_MODE=online (after `wandb login`) it is uploaded during training. WANDB_PROJECT
    (by default codial), WANDB_ENTITY, WANDB_DIR and W&B's other variables hold as well. A resumed run has the same id.
    """

    package = "wandb"

    def start(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Create or resume a run of W&B."""
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "codial"),
            dir=os.environ.get("WANDB_DIR", str(folder)),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            id=stored_id(folder),
            name=settings["name"],
            config=dict(settings),
            resume="allow",
            reinit="create_new",  # leaves other runs of this process alone
            settings=wandb.Settings(console="off"),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log curves."""
        self.run.log(dict(values), step=step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Log an image."""
        import wandb

        self.run.log({name: wandb.Image(to_pixels(image))}, step=step)

    def close(self, status: str) -> None:
        """Finish the run of W&B."""
        self.run.finish(exit_code=int(status == "failed"))
