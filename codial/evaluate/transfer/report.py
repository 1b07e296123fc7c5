"""What every transfer task reports."""

from dataclasses import asdict, dataclass
from typing import Any

from codial.results import write_report
from codial.runs import Run


@dataclass(frozen=True)
class TransferReport:
    """A transfer task's number, with all that is needed to measure it again.

    Attributes:
        metric: "mAP" or "mIoU".
        value: in percent, the mean over the classes that can be judged.
        classes: percent by class; None where a class cannot be judged.
        train: what was learnt from.
        test: what was judged on.
        protocol: in a sentence.
        seed: of whatever was drawn.
    """

    metric: str
    value: float
    classes: dict[str, float | None]
    train: str
    test: str
    protocol: str
    seed: int

    def save(self, run: Run, name: str, **more: Any) -> None:
        """Write the report into a run's `evaluations` folder as NAME.json, with what else the task has to say."""
        write_report(run, name, asdict(self) | more)


def mean_of(classes: dict[str, float | None]) -> float:
    """Return the mean of the classes that can be judged, 0 when none can."""
    judged = [value for value in classes.values() if value is not None]
    return sum(judged) / max(1, len(judged))
