"""The CIFAR-10 study: CODIAL compared with its parts and with baselines. The most important runs come first."""

from dataclasses import dataclass
from pathlib import Path

from codial.errors import CodialError
from codial.experiments.sweep import PlannedRun, plan
from codial.methods.codial import questions

BASELINES = ("rotnet", "decouple", "globstat")
_OTHERS = ("globstat", "deepcluster", "knowtrans", "spotartifacts", "cmc", "supervised")
_MODERN = ("simclr", "barlowtwins", "vicreg", "byol", "essl")  # later than most of what the paper compares with
PARTS = ("codial-cls", "codial-mi")  # lambda (1, 0) and (0, 1)
_HEADS = ("codial-split", "codial-decoupled")
_STRONG = ("codial-hue50", "codial-cls-hue50", "codial-mi-hue50")  # strong hue shifts, so that colors are no shortcut


# Variants that answer what the paper leaves open.
_OPEN = tuple(name for answers in questions().values() for name in answers if name not in ("codial", *PARTS, *_HEADS))


@dataclass(frozen=True)
class StudyPart:
    """Methods with one recipe and number of seeds."""

    methods: tuple[str, ...]
    recipe: str
    seeds: int


BUDGETS = {
    "short": (  # as small, but 300,000 views: at most eight minutes per run on two CPU cores
        StudyPart(("codial", "random", "rotnet", "decouple"), "short", 3),
        StudyPart(_OTHERS, "short", 1),
        StudyPart(_MODERN, "short", 1),
        StudyPart(("codial-mi", "codial-mi-hue50"), "short", 1),  # alignment only, with weak and strong hue shifts
    ),
    "small": (  # quarter width, 10,000 images, a million views: minutes per run on two CPU cores
        StudyPart(("codial", "random", "rotnet", "decouple"), "cifar10", 3),
        StudyPart(PARTS, "cifar10", 1),
        StudyPart(_HEADS, "cifar10", 1),
        StudyPart(_OPEN, "cifar10", 1),
        StudyPart(_OTHERS, "cifar10", 1),
    ),
    "brief": (  # full width, all 50,000 images, 20 epochs: a quarter of an hour on a GPU
        StudyPart(("codial", "random", *PARTS, *_STRONG, "rotnet", "decouple"), "brief", 1),
        StudyPart(("codial", "random", *PARTS, "rotnet", "decouple"), "brief", 3),
    ),
    "full": (  # full width, all 50,000 images, 200 epochs: for a GPU
        StudyPart(("codial", "random", *PARTS, "rotnet"), "recommended", 1),
        StudyPart(("codial",), "paper", 1),
        StudyPart(("decouple", "globstat", "supervised"), "recommended", 1),
        StudyPart(("codial", "random", *PARTS, *BASELINES), "recommended", 3),
    ),
}


def study(data: str = "cifar10", budget: str = "small", out: str | Path = "runs") -> list[PlannedRun]:
    """Return the runs of the study in order, each once.

    Args:
        data: dataset; "cifar10" is the only one so far.
        budget: "short" or "small" for a CPU, "brief" or "full" for a GPU (`BUDGETS`).
        out: folder of the runs, as in `plan`.

    Raises:
        CodialError: there is no such study or budget.
    """
    if data != "cifar10":
        raise CodialError(f"There is no study of {data!r}; expected cifar10.")
    if budget not in BUDGETS:
        raise CodialError(f"budget is {budget!r}; expected one of {', '.join(BUDGETS)}.")
    runs: dict[Path, PlannedRun] = {}
    for part in BUDGETS[budget]:
        for run in plan([f"{method}/{part.recipe}" for method in part.methods], part.seeds, out):
            runs.setdefault(run.folder, run)
    return list(runs.values())
