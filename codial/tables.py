"""Systems side by side under one protocol, the paper's numbers beside ours: what `codial compare` prints."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from textwrap import fill
from typing import Any, NamedTuple

from codial import objectives, paper
from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate import ProbeConfig, ProbeReport, probe, retrieve
from codial.reports import by_settings
from codial.results import read_report, reports
from codial.runs import Run

K, LAYER = 7, "fc7"  # of retrieval, as the paper's Figure 4
Sets = Callable[[], tuple[Pictures, Pictures]]
_WIDTH = 100  # columns of prose, for a notebook at 1280 pixels


class Judged(NamedTuple):
    """A run and what was measured of it."""

    run: Run
    report: ProbeReport
    precision: float  # at 7 by fc7, in percent


@dataclass(frozen=True)
class Row:
    """The runs of one system that differ in nothing but their seeds."""

    name: str
    judged: tuple[Judged, ...]

    @property
    def system(self) -> str:
        """As in its preset's name: codial of codial/photos."""
        return self.name.split("/")[0]

    @property
    def views(self) -> int:
        """How many views one run has trained on."""
        return max((line["views"] for line in self.judged[0].run.history), default=0)

    def layer(self, name: str) -> list[float]:
        """Return each run's accuracy in percent, the mean over probe seeds."""
        return [each.report.mean(name) for each in self.judged]

    @property
    def precision(self) -> list[float]:
        """Each run's precision at 7 in percent."""
        return [each.precision for each in self.judged]


@dataclass(frozen=True)
class Comparison:
    """Systems that were judged by one protocol on the same pictures; `str` lays them out as a table with its notes."""

    rows: tuple[Row, ...]

    @property
    def report(self) -> ProbeReport:
        """Any of them: protocol and pictures are the same for all."""
        return self.rows[0].judged[0].report

    def __str__(self) -> str:
        layers = list(self.report.accuracies)
        lines = [(f"{self.report.metric} in percent", "runs", "views", *layers, f"P@{K}")]
        for row in self.rows:
            cells = [spread(row.layer(layer)) for layer in layers]
            lines.append((row.name, str(len(row.judged)), f"{row.views:,}", *cells, spread(row.precision)))
            if (found := paper.printed(row.system)) is not None:
                where, numbers = found
                cells = ["" if (number := numbers.get(layer)) is None else f"{number:.1f}" for layer in layers]
                lines.append((f"  the paper, {where}", "", "", *cells, ""))
        return "\n\n".join([laid_out(lines), *(fill(note, _WIDTH) for note in self._notes())])

    def _notes(self) -> Iterable[str]:
        report = self.report
        several = any(len(row.judged) > 1 for row in self.rows)
        yield (
            f"Learnt from {report.train}, judged on {report.test}. Protocol: {report.protocol.describe(report.metric)}."
            + (" ± is one standard deviation over runs with different seeds." if several else " One run each.")
        )
        yield (
            f"P@{K}: part of the {K} nearest pictures by cosine of {LAYER} that have the query's label, in percent. The"
            " paper's numbers are of other data, full width and many times the views: compare orders, not heights."
        )
        for system in dict.fromkeys(row.judged[0].run.config.objective.system for row in self.rows):
            if found := objectives.departures(system):
                yield f"{system} departs from the original: {found}"


def compare(
    runs: Sequence[Run],
    sets: Sets,
    protocol: ProbeConfig | None = None,
    *,
    source: str | None = None,
    again: bool = False,
    progress: bool = True,
    device: str = "auto",
) -> Comparison:
    """Probe and search runs under one protocol; what their folders hold already is not measured again.

    Args:
        runs: finished ones, or published ones, of which only the reports are left.
        sets: loads the labelled pictures to know and those to ask for; called once, if anything is to be measured.
        protocol: of the probes.
        source: the set's name, under which reports are kept; the first run's own when left out.
        again: measure even what is there.
        progress: show bars.
        device: for what is measured.

    Raises:
        CodialError: no run is given, the reports are of different pictures, or one is missing without weights to
            measure it from.
    """
    protocol = protocol or ProbeConfig()
    if not runs:
        raise CodialError("There are no runs to compare; name their folders, such as runs/photos/*.")
    name = Path(source or runs[0].config.data.source).name
    judged, loaded = [], None
    for run in runs:
        found = None if again else _stored(run, name, protocol)
        if found is None:
            _require_weights(run)
            known, asked = loaded = loaded or sets()
            report = probe(run, known, asked, protocol, progress=progress, device=device)
            searched = retrieve(run, known, asked, K, LAYER, progress=progress, device=device)
            found = Judged(run, report, searched.precision)
        judged.append(found)
    _require_same_pictures(judged)
    return Comparison(tuple(_rows(judged)))


def _stored(run: Run, name: str, protocol: ProbeConfig) -> Judged | None:
    """Return what a run's folder, or its published form, holds by this protocol and for its present settings."""
    folder = reports(run)
    probed, searched = folder / f"probe-{name}.json", folder / f"retrieval-{name}-{LAYER}.json"
    if not (probed.exists() and searched.exists()):
        return None
    report, retrieval = ProbeReport.load(probed), read_report(searched, **_SEARCHED)
    same = replace(report.protocol, precision=protocol.precision) == protocol and retrieval["k"] == K
    current = {report.config_hash, retrieval["config_hash"]} == {run.provenance["config_hash"]}
    pictures = (retrieval["gallery"], retrieval["queries"]) == (report.train, report.test)
    return Judged(run, report, retrieval["precision"]) if same and current and pictures else None


_SEARCHED: dict[str, Any] = {"precision": (float, int), "k": int, "gallery": str, "queries": str, "config_hash": str}


def _require_weights(run: Run) -> None:
    if not run.finished:
        raise CodialError(
            f"{run.folder} has no finished weights, and no report by this protocol; finish it with `codial pretrain"
            f" {run.folder / 'config.json'} --out {run.folder}`, or leave it out."
        )


def _require_same_pictures(judged: Sequence[Judged]) -> None:
    first = judged[0].report
    for each in judged:
        report = each.report
        if (report.train, report.test, report.protocol) != (first.train, first.test, first.protocol):
            raise CodialError(
                f"{each.run.folder} was judged on {report.test} after {report.train} in {report.protocol.precision},"
                f" {judged[0].run.folder} on {first.test} after {first.train} in {first.protocol.precision}; --again"
                " measures all of them alike."
            )


def _rows(judged: Sequence[Judged]) -> Iterable[Row]:
    """Gather the seeds of each system, in the order in which the systems come."""
    gathered = by_settings(judged, lambda each: each.run.config)
    return (Row(name, tuple(group)) for name, group in gathered.items())


def spread(values: Sequence[float]) -> str:
    """Return a mean, with one standard deviation where there are several values."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def laid_out(lines: Sequence[Sequence[str]]) -> str:
    """Lay out cells in columns, the first line as a head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rows[0], "-" * (sum(widths) + 2 * len(widths) - 2), *rows[1:]])
