"""The study of CIFAR-10: does CODIAL beat its parts and its rivals? The runs it needs, those that matter most first."""

from dataclasses import dataclass
from pathlib import Path

from codial.errors import CodialError
from codial.readings import READINGS
from codial.sweep import Planned, plan

RIVALS = ("rotnet", "decouple", "globstat")
_OTHERS = ("globstat", "deepcluster", "knowtrans", "spotartifacts", "cmc", "supervised")
PARTS = ("codial-cls", "codial-mi")  # lambda (1, 0) and (0, 1)
_STRONG = ("codial-hue50", "codial-cls-hue50", "codial-mi-hue50")  # where colours do not give pictures away


@dataclass(frozen=True)
class Part:
    """Systems at one scale, each with some seeds."""

    systems: tuple[str, ...]
    scale: str
    seeds: int


BUDGETS = {
    "short": (  # as small, with 300,000 views: every system at most eight minutes on two CPU cores
        Part(("codial", "random", "rotnet", "decouple"), "short", 3),
        Part(_OTHERS, "short", 1),
        Part(("codial-mi", "codial-mi-hue50"), "short", 1),  # what alignment alone learns, with mild hues and strong
    ),
    "small": (  # a quarter of the width, 10,000 pictures, a million views: minutes each on two CPU cores
        Part(("codial", "random", "rotnet", "decouple"), "cifar10", 3),
        Part(PARTS, "cifar10", 1),
        Part(("codial-split", "codial-decoupled"), "cifar10", 1),
        Part(tuple(f"codial-{name}" for name in READINGS), "cifar10", 1),
        Part(_OTHERS, "cifar10", 1),
    ),
    "brief": (  # the whole width, all 50,000 pictures, 20 epochs: for a GPU that is at hand for a quarter of an hour
        Part(("codial", "random", *PARTS, *_STRONG, "rotnet", "decouple"), "brief", 1),
        Part(("codial", "random", *PARTS, "rotnet", "decouple"), "brief", 3),
    ),
    "full": (  # the whole width, all 50,000 pictures, 200 epochs: for a GPU
        Part(("codial", "random", *PARTS, "rotnet"), "recommended", 1),
        Part(("codial",), "paper", 1),
        Part(("decouple", "globstat", "supervised"), "recommended", 1),
        Part(("codial", "random", *PARTS, *RIVALS), "recommended", 3),
    ),
}


def study(data: str = "cifar10", budget: str = "small", out: str | Path = "runs") -> list[Planned]:
    """List the runs of the study, each once, in the order in which they are to be made.

    Args:
        data: "cifar10", the only set that is studied so far.
        budget: "short" or "small" for a CPU, "brief" or "full" for a GPU (`BUDGETS`).
        out: where the runs lie, as a sweep's.

    Raises:
        CodialError: there is no such study or budget.
    """
    if data != "cifar10":
        raise CodialError(f"There is no study of {data!r}; there is one of cifar10.")
    if budget not in BUDGETS:
        raise CodialError(f"budget is {budget!r}; expected one of {', '.join(BUDGETS)}.")
    found: dict[Path, Planned] = {}
    for part in BUDGETS[budget]:
        for each in plan([f"{system}/{part.scale}" for system in part.systems], part.seeds, out):
            found.setdefault(each.folder, each)
    return list(found.values())
