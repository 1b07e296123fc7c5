"""What runs' folders hold of measurements, seeds of one configuration together; nothing is measured here."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TypeVar

from codial.config import CodialOptions, Config, config_hash
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.results import SHORTCUTS, read_report, reports
from codial.runs import Run
from codial.scale import differences

T = TypeVar("T")
_END = 0.05  # part of a run, its last, over which terms are averaged
_PROBE = re.compile(r"probe-(?P<source>.+?)(?P<protocol>-zhang|-globstat)?\.json")


@dataclass(frozen=True)
class Group:
    """The runs of one system that differ in nothing but their seeds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> Config:
        """The settings, with the first run's seed."""
        return self.runs[0].config

    @property
    def system(self) -> str:
        """As in its preset's name: codial-cls of codial-cls/photos."""
        return self.config.name.split("/")[0]

    def probed(self, source: str) -> list[ProbeReport]:
        """Return the runs' probe reports on a set of pictures; runs without one are left out.

        Raises:
            CodialError: they are of different pictures or protocols, so that no mean may be taken.
        """
        found = [report for run in self.runs if (report := probe_report(run, source)) is not None]
        if len({(report.train, report.test, replace(report.protocol, precision="auto")) for report in found}) > 1:
            raise CodialError(
                f"The runs of {self.name} were probed on {source} with different pictures or protocols; `codial probe"
                f" {' '.join(str(run.folder) for run in self.runs)} --train {source}` measures them alike."
            )
        return found

    def lacking(self, name: str) -> list[Run]:
        """Return the runs without a current report of that name, such as probe-cifar10."""
        return [run for run in self.runs if current_report(run, name) is None]

    def searched(self, source: str, layer: str = "fc7") -> list[float]:
        """Return the runs' precision in percent of neighbours in a set of pictures, where it was measured."""
        paths = [path for run in self.runs if (path := current_report(run, f"retrieval-{source}-{layer}")) is not None]
        return [float(read_report(path, precision=(float, int))["precision"]) for path in paths]

    def transferred(self, name: str) -> list[float]:
        """Return each run's value in percent of a transfer, such as voc2007-detection, where it was measured."""
        paths = [path for run in self.runs if (path := current_report(run, f"transfer-{name}")) is not None]
        return [float(read_report(path, value=(float, int))["value"]) for path in paths]


def groups(runs: Iterable[Run]) -> list[Group]:
    """Gather runs that differ in nothing but their seeds, in the order in which they come."""
    gathered = by_settings(list(runs), lambda run: run.config)
    return [Group(name, tuple(each)) for name, each in gathered.items()]


def probed(runs: Iterable[Run], source: str) -> dict[str, list[ProbeReport]]:
    """Return the probe reports on a set of pictures by configuration, a report a run; those without any are left out.

    Raises:
        CodialError: no run has one, or those of one configuration are of different pictures or protocols.
    """
    found = {group.name: reports for group in groups(runs) if (reports := group.probed(source))}
    if not found:
        raise CodialError(f"No run here has a probe report on {source}; `codial probe RUN --train {source}` makes one.")
    return found


def by_settings(items: Sequence[T], config: Callable[[T], Config]) -> dict[str, list[T]]:
    """Gather what differs in nothing but the seed, by name; of one name with other settings, by name and hash."""
    gathered: dict[tuple[str, str], list[T]] = {}
    for item in items:
        own = config(item)
        gathered.setdefault((own.name, config_hash(replace(own, seed=0))), []).append(item)
    names = [name for name, _ in gathered]
    return {
        name if names.count(name) == 1 else f"{name} {settings[:4]}": group
        for (name, settings), group in gathered.items()
    }


def probe_report(run: Run, source: str) -> ProbeReport | None:
    """Return a run's probe report on a set of pictures; None where there is none, or one of older settings."""
    path = current_report(run, f"probe-{source}")
    return None if path is None else ProbeReport.load(path)


def probed_sets(runs: Iterable[Run]) -> list[str]:
    """Return the names of the sets on which any of the runs was probed by the package's own protocol."""
    found = [_PROBE.fullmatch(path.name) for run in runs for path in sorted(reports(run).glob("probe-*.json"))]
    return list(dict.fromkeys(each["source"] for each in found if each is not None and not each["protocol"]))


def by_pairs(runs: Sequence[Run], source: str) -> dict[str, dict[int, list[float]]]:
    """Return accuracies by layer and by the number of pairs that CODIAL aligned, a value a run: the paper's Figure 3.

    Args:
        runs: those named codial and codial-pairsN are taken, at any scale; others are left out.
        source: the set on which they were probed.

    Raises:
        CodialError: none of them has a report on the set, or their settings differ in more than pairs and seed.
    """
    taken = [run for run in runs if _of_pairs(run)]
    _require_alike(taken)
    found: dict[str, dict[int, list[float]]] = {}
    for run in taken:
        report = probe_report(run, source)
        for layer in report.accuracies if report is not None else ():
            assert report is not None
            found.setdefault(layer, {}).setdefault(pairs(run), []).append(report.mean(layer))
    if not found:
        raise CodialError(
            f"No run of codial or codial-pairsN here has a probe report on {source}; `codial sweep figure3/photos"
            " --probe` makes such runs, and `codial probe RUN` their reports."
        )
    return {layer: dict(sorted(values.items())) for layer, values in found.items()}


def gains(runs: Sequence[Run], source: str) -> dict[str, dict[str, list[float]]]:
    """Return points of accuracy over random weights, by configuration and layer, a value a run.

    Args:
        runs: with one or more of random weights; a run is compared with those of its own seed, or with the mean of all
            where its seed has none.
        source: the set on which they were probed.

    Raises:
        CodialError: no random weights, or nothing else, has a report on the set.
    """
    reports = [(run, report) for run in runs if (report := probe_report(run, source)) is not None]
    floors = {run.config.seed: report for run, report in reports if _untrained(run)}
    if not floors or len(floors) == len(reports):
        raise CodialError(
            f"Gains need probe reports on {source} of random weights and of trained runs; `codial sweep random/photos"
            " codial/photos --probe` makes some."
        )
    found = {}
    for group in groups(run for run, _ in reports if not _untrained(run)):
        found[group.name] = {
            layer: [report.mean(layer) - _floor(floors, run, layer) for run, report in reports if run in group.runs]
            for layer in next(iter(floors.values())).accuracies
        }
    return found


def _untrained(run: Run) -> bool:
    return run.config.train.epochs == 0


def _floor(floors: dict[int, ProbeReport], run: Run, layer: str) -> float:
    own = floors.get(run.config.seed)
    return own.mean(layer) if own is not None else mean(report.mean(layer) for report in floors.values())


def pairs_note(runs: Sequence[Run], source: str) -> str:
    """Return in a sentence of how many runs a point is, and in what they differ from those of the paper's Figure 3."""
    taken = [run for run in runs if _of_pairs(run) and probe_report(run, source) is not None]
    counts = [sum(pairs(other) == pairs(run) for other in taken) for run in taken]
    each = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(max(counts))
    why = "; ".join(differences(taken[0], "stl10"))
    band = ", the band is one standard deviation over seeds" if max(counts) > 1 else ""
    told = f"{each} run{'s' * (max(counts) > 1)} a point{band}."
    return f"{told} Not comparable with the paper's STL-10 because of {why}." if why else told


def _of_pairs(run: Run) -> bool:
    return re.fullmatch(r"codial(-pairs\d+)?", run.config.name.split("/")[0]) is not None


def pairs(run: Run) -> int:
    """Return how many pairs of views a run of CODIAL aligns."""
    assert isinstance(run.config.objective, CodialOptions)
    return run.config.objective.pairs


def _require_alike(runs: Sequence[Run]) -> None:
    hashes: dict[str, Run] = {}
    for run in runs:
        assert isinstance(run.config.objective, CodialOptions)
        plain = replace(run.config, seed=0, objective=replace(run.config.objective, pairs=1))
        hashes.setdefault(config_hash(plain), run)
    if len(hashes) > 1:
        first, other = list(hashes.values())[:2]
        raise CodialError(
            f"{first.folder} and {other.folder} differ in more than their pairs and seeds; give runs of one scale only."
        )


def ending(run: Run, name: str) -> list[float]:
    """Return a term's mean over the end of a run, in a list; an empty one where the run has no such term."""
    lines = [line for line in run.history if name in line]
    last = lines[-max(1, round(_END * len(lines))) :]
    return [mean(line[name] for line in last)] if last else []


def shortcut(run: Run, cue: str) -> list[float]:
    """Return the bound in nats that a cue alone gives of a run's views, in a list; an empty one where none is known."""
    path = current_report(run, f"{SHORTCUTS}-{run.config.data.source}")
    return [] if path is None else [float(read_report(path, nats=dict)["nats"][cue])]


def current_report(run: Run, name: str) -> Path | None:
    """Return the path of a report on the run's present settings."""
    path = reports(run) / f"{name}.json"
    if not path.exists():
        return None
    return path if read_report(path).get("config_hash") == run.provenance["config_hash"] else None
