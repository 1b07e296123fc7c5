"""Reports of transfer tasks."""

from dataclasses import asdict, dataclass
from typing import Any

from codial.runs.reports import write_report
from codial.runs.run import Run


@dataclass(frozen=True)
class TransferReport:
    """Result of a transfer task, with all settings that are needed to reproduce it.

    Attributes:
        metric: "mAP" or "mIoU".
        value: mean over classes, in percent.
        classes: percent by class; None for a class that does not occur.
        train: description of the training images.
        test: description of the test images.
        protocol: description of the protocol.
        seed: random seed.
    """

    metric: str
    value: float
    classes: dict[str, float | None]
    train: str
    test: str
    protocol: str
    seed: int

    def save(self, run: Run, name: str, **extra: Any) -> None:
        """Save the report as NAME.json in a run's `evaluations` folder, with further values of the task."""
        write_report(run, name, asdict(self) | extra)


def mean_over_classes(classes: dict[str, float | None]) -> float:
    """Return the mean over classes that are not None; 0 if all are."""
    values = [value for value in classes.values() if value is not None]
    return sum(values) / max(1, len(values))
