"""What measurements say to the questions that the paper leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

from codial.errors import CodialError
from codial.readings import questions
from codial.reports import Group, ending, groups, shortcut
from codial.runs import Run
from codial.tables import laid_out, spread

COLOURS = "colours"  # the bound that a critic of mean colours reaches on the same views; `codial.shortcuts`

# Terms at the end of a run: each one's column, what it is multiplied by there, and its decimals.
ENDS = {
    "pretext_accuracy": ("pretext", 100, 1),
    "mi_js": ("mi_js", 1, 2),
    COLOURS: ("colours", 1, 2),
    "skl": ("skl", 1, 1),
}


@dataclass(frozen=True)
class Answer:
    """One reading and what it came to."""

    system: str
    says: str
    layers: dict[str, list[float]]  # accuracy in percent, a value a run
    precision: list[float]  # at 7 of fc7's neighbours, in percent, a value a run
    ends: dict[str, float]  # terms at the end of the run, the mean over runs; those that it has

    def cells(self) -> tuple[str, ...]:
        """Return a line of a table."""
        told = [
            f"{factor * self.ends[name]:.{decimals}f}" if name in self.ends else "-"
            for name, (_, factor, decimals) in ENDS.items()
        ]
        return self.says, *(spread(values) for values in self.layers.values()), spread(self.precision), *told


@dataclass(frozen=True)
class Answers:
    """All questions to which there is at least one answer beside CODIAL's own; `str` lays them out as tables."""

    found: dict[str, list[Answer]]
    layers: tuple[str, ...]

    def summary(self, layer: str) -> str:
        """Say in a line which reading is best and which worst at a layer, beside CODIAL's own."""
        own = mean(next(iter(self.found.values()))[0].layers[layer])
        others = {
            answer.system: mean(answer.layers[layer]) - own for given in self.found.values() for answer in given[1:]
        }
        best, worst = max(others, key=others.__getitem__), min(others, key=others.__getitem__)
        return (
            f"{layer}, points beside CODIAL's own {own:.1f} %: best of {len(others)} {best} {others[best]:+.1f}, worst"
            f" {worst} {others[worst]:+.1f}"
        )

    def beside(self, system: str, other: str) -> str:
        """Say in a line how many points a system is above another at each layer, in the mean over runs of each."""
        known = {answer.system: answer for given in self.found.values() for answer in given}
        lacking = [name for name in (system, other) if name not in known]
        if lacking:
            return f"{system} beside {other}: no reports of {' and '.join(lacking)} here"
        ours, theirs = known[system].layers, known[other].layers
        gains = [f"{layer} {mean(ours[layer]) - mean(theirs[layer]):+.1f}" for layer in self.layers]
        runs = f"{len(ours[self.layers[0]])} and {len(theirs[self.layers[0]])} runs"
        return f"{system} beside {other}: {', '.join(gains)} ({runs})"

    def __str__(self) -> str:
        head = ("", *self.layers, "P@7", *(column for column, *_ in ENDS.values()))
        return "\n\n".join(
            f"{question}\n{laid_out([head, *(answer.cells() for answer in answers)])}"
            for question, answers in self.found.items()
        )


class Told(NamedTuple):
    """A configuration that aligns views, the mean over its runs; nats."""

    system: str
    colours: float  # the bound that its views' mean colours alone give
    mi_js: float  # the bound at the end of its runs


def told_by_colours(runs: Sequence[Run]) -> list[Told]:
    """Return for each configuration how far its bound went beside what colours alone give.

    Args:
        runs: those that align no views, or whose views `codial shortcuts` has not measured, are left out.
    """
    ends = {group.system: _ends(group) for group in groups(runs)}
    return [Told(system, each[COLOURS], each["mi_js"]) for system, each in ends.items() if COLOURS in each]


def answers(runs: Sequence[Run], source: str) -> Answers:
    """Gather what runs of CODIAL and of its readings came to, by question.

    Args:
        runs: published or with their reports, all of one scale; those that stand for no reading are left out.
        source: the set on which they were probed, by which their neighbours were searched too.

    Raises:
        CodialError: none is CODIAL's own, or none has a report.
    """
    measured = {group.system: group for group in groups(runs) if group.probed(source) and group.searched(source)}
    if "codial" not in measured:
        raise CodialError(
            f"There is no run of CODIAL itself with reports on {source} to compare its readings with; `codial reproduce"
            " cifar10` makes the runs, and publishes them in results/."
        )
    found = {
        question: [_answer(measured[system], says, source) for system, says in told.items() if system in measured]
        for question, told in questions().items()
    }
    kept = {question: given for question, given in found.items() if len(given) > 1}
    return Answers(kept, tuple(measured["codial"].probed(source)[0].accuracies))


def _answer(group: Group, says: str, source: str) -> Answer:
    reports = group.probed(source)
    layers = {layer: [report.mean(layer) for report in reports] for layer in reports[0].accuracies}
    return Answer(group.system, says, layers, group.searched(source), _ends(group))


def _ends(group: Group) -> dict[str, float]:
    return {name: mean(values) for name in ENDS if (values := [v for run in group.runs for v in _told(run, name)])}


def _told(run: Run, name: str) -> list[float]:
    """Return a term at the end of a run; of runs that align views, the bound that colours alone give."""
    if name != COLOURS:
        return ending(run, name)
    return shortcut(run, COLOURS) if ending(run, "mi_js") else []
