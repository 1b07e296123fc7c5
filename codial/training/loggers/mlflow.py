"""The logger `mlflow`."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codial.training.loggers.base import Logger, stored_id, to_pixels

_PARAMS = 100  # MLflow's limit for one call
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow(Logger):
    """MLflow, in files: `MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri RUN/loggers/mlflow` shows them.

    With the environment variable MLFLOW_TRACKING_URI it logs to a server or a database instead; the experiment is
    MLFLOW_EXPERIMENT_NAME, by default codial. A resumed run has the same id. MLFLOW_DISABLE_TELEMETRY=true keeps MLflow
    from reporting its use.
    """

    package = "mlflow"

    def start(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Create or continue a run of MLflow; settings are parameters."""
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            uri = folder.resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # or MLflow 3 asks for a database
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        self.id = stored_id(folder, lambda: self._create(settings))
        self.client.update_run(self.id, "RUNNING")

    def _create(self, settings: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "codial")
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        run = self.client.create_run(number, run_name=settings["name"]).info.run_id
        params = [Param(key, str(value)) for key, value in settings.items()]
        for first in range(0, len(params), _PARAMS):
            self.client.log_batch(run, params=params[first : first + _PARAMS])
        return run

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log curves."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self.client.log_batch(self.id, [Metric(name, value, now, step) for name, value in values.items()])

    def image(self, step: int, name: str, image: Tensor) -> None:
        """Log an image as an artifact."""
        self.client.log_image(self.id, to_pixels(image), artifact_file=f"{name}.png")

    def close(self, status: str) -> None:
        """Set the status of the run of MLflow."""
        self.client.set_terminated(self.id, _STATUS[status])
