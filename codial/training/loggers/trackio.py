"""The logger `trackio`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codial.training.loggers.base import Logger, stored_id, to_pixels


class Trackio(Logger):
    """Trackio, in its own database, which all runs share: `trackio show --project codial`.

    The environment variables TRACKIO_DIR (folder of the database, read once per process), TRACKIO_SPACE_ID (a Space of
    Hugging Face) and TRACKIO_SERVER_URL say where it is. A resumed run has the same name: the run's label and an id.
    """

    package = "trackio"

    def start(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Create or resume a run of Trackio."""
        import trackio

        name = f"{settings['name']} {stored_id(folder)}".replace("/", "-")
        self.run = trackio.init(
            project="codial",
            name=name,
            config=dict(settings),
            resume="allow",
            embed=False,  # no dashboard in a notebook's output
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log curves."""
        self.run.log(dict(values), step=step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Log an image."""
        import trackio

        self.run.log({name: trackio.Image(to_pixels(image))}, step=step)

    def close(self, status: str) -> None:
        """Finish the run of Trackio."""
        import trackio

        trackio.finish()
