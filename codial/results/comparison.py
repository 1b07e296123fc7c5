"""Comparison of methods under one probe protocol, with the paper's numbers: what `codial compare` prints."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from textwrap import fill
from typing import Any, NamedTuple

from codial import methods
from codial.data import Dataset, name_of
from codial.errors import CodialError
from codial.evaluate import ProbeConfig, ProbeReport, probe, retrieve
from codial.evaluate.probes.cached import PRECISIONS
from codial.models import layer_names
from codial.results import paper
from codial.results.aggregate import RunGroup, group_by_seed
from codial.runs.reports import read_report, reports_folder
from codial.runs.run import Run
from codial.utils.text_table import format_table

K = 7  # neighbors of retrieval, as in the paper's Figure 4
_WIDTH = 100  # columns of text
_RETRIEVAL: dict[str, Any] = {"precision": (float, int), "k": int, "gallery": str, "queries": str, "config_hash": str}


class EvaluatedRun(NamedTuple):
    """A run with its results.

    Attributes:
        run: the run.
        report: its probe report.
        precision: retrieval precision at 7 by the last layer, in percent.
        layer: name of that layer.
    """

    run: Run
    report: ProbeReport
    precision: float
    layer: str


@dataclass(frozen=True)
class ComparisonTable:
    """Runs that were evaluated by one protocol on the same images; `str` formats a table with notes."""

    evaluated: tuple[EvaluatedRun, ...]

    @property
    def groups(self) -> list[RunGroup]:
        """The rows of the table: runs that differ only in their seeds."""
        return group_by_seed(each.run for each in self.evaluated)

    @property
    def report(self) -> ProbeReport:
        """The first run's probe report; protocol and images are the same for all."""
        return self.evaluated[0].report

    @property
    def layers(self) -> list[str]:
        """The probed layers of all backbones, in order of first appearance."""
        return list(dict.fromkeys(layer for each in self.evaluated for layer in each.report.accuracies))

    def accuracies(self, group: RunGroup, layer: str) -> list[float]:
        """Return each run's accuracy in percent, averaged over probe seeds; none if the backbone has no such layer."""
        return [each.report.mean(layer) for each in self._of(group) if layer in each.report.accuracies]

    def precisions(self, group: RunGroup) -> list[float]:
        """Return each run's retrieval precision at 7 in percent."""
        return [each.precision for each in self._of(group)]

    def _layers_of(self, group: RunGroup) -> list[str]:
        return list(self._of(group)[0].report.accuracies)

    def _of(self, group: RunGroup) -> list[EvaluatedRun]:
        return [each for each in self.evaluated if each.run in group.runs]

    def __str__(self) -> str:
        layers = self.layers
        rows = [(f"{self.report.metric} in percent", "runs", "views", *layers, f"P@{K}")]
        for group in self.groups:
            accuracies = [self.accuracies(group, layer) for layer in layers]
            cells = [mean_and_std(values) if values else "" for values in accuracies]
            views = f"{_trained_views(group):,}"
            rows.append((group.name, str(len(group.runs)), views, *cells, mean_and_std(self.precisions(group))))
            published = paper.printed_accuracies(group.method)
            if published is not None and any(layer in published[1] for layer in self._layers_of(group)):
                dataset, numbers = published
                cells = ["" if (number := numbers.get(layer)) is None else f"{number:.1f}" for layer in layers]
                rows.append((f"  the paper, {dataset}", "", "", *cells, ""))
        return "\n\n".join([format_table(rows), *(fill(note, _WIDTH) for note in self._notes())])

    def _notes(self) -> Iterator[str]:
        report = self.report
        several = any(len(group.runs) > 1 for group in self.groups)
        yield (
            f"Trained on {report.train}, evaluated on {report.test}. Protocol:"
            f" {report.protocol.describe(report.metric)}."
            + (" ± is one standard deviation over runs with different seeds." if several else " One run each.")
        )
        layers = " or ".join(dict.fromkeys(each.layer for each in self.evaluated))
        yield (
            f"P@{K}: percentage of the {K} nearest images by cosine of {layers} that have the query's label. The"
            " paper's numbers are of other data, full width and many times the views: compare the order of methods, not"
            " absolute values."
        )
        yield from self._precision_notes()
        for method in dict.fromkeys(each.run.config.method.name for each in self.evaluated):
            if departures := methods.departures(method):
                yield f"{method} departs from the original: {departures}"

    def _precision_notes(self) -> Iterator[str]:
        """Yield a sentence for each floating-point precision other than that of `report`."""
        names: dict[str, list[str]] = {}
        for group in self.groups:
            used = [each.report.protocol.precision for each in self._of(group)]
            for precision in dict.fromkeys(used):
                count = used.count(precision)
                name = group.name if count == len(used) else f"{count} of {len(used)} runs of {group.name}"
                names.setdefault(precision, []).append(name)
        names.pop(self.report.protocol.precision)
        for precision, parts in names.items():
            yield f"Probed in {PRECISIONS[precision]}, unlike the others: {', '.join(parts)}."


def compare(
    runs: Sequence[Run],
    load_datasets: Callable[[], tuple[Dataset, Dataset]],
    protocol: ProbeConfig | None = None,
    *,
    source: str | None = None,
    again: bool = False,
    progress: bool = True,
    device: str = "auto",
) -> ComparisonTable:
    """Evaluate runs by probes and retrieval under one protocol; existing reports are used.

    Args:
        runs: finished runs, or published ones, which have reports but no weights.
        load_datasets: function that returns the labeled training and test images; called at most once, when needed.
        protocol: protocol of the probes; CODIAL's by default.
        source: name of the dataset in the reports' names; by default the first run's.
        again: evaluate again even if there are reports.
        progress: show progress bars.
        device: device of the evaluation.

    Raises:
        CodialError: there are no runs, reports are of different images, or a run has neither report nor weights.
    """
    protocol = protocol or ProbeConfig()
    if not runs:
        raise CodialError("There are no runs to compare; expected folders of runs, such as runs/photos/*.")
    name = name_of(source or runs[0].config.data.source)
    evaluated = []
    datasets = None
    for run in runs:
        result = None if again else _load_reports(run, name, protocol)
        if result is None:
            _check_weights(run)
            train, test = datasets = datasets or load_datasets()
            report = probe(run, train, test, protocol, progress=progress, device=device)
            retrieval = retrieve(run, train, test, K, progress=progress, device=device)
            result = EvaluatedRun(run, report, retrieval.precision, retrieval.layer)
        evaluated.append(result)
    _check_same_images(evaluated)
    return ComparisonTable(tuple(evaluated))


def _load_reports(run: Run, name: str, protocol: ProbeConfig) -> EvaluatedRun | None:
    """Return a run's existing results by this protocol and of its current config; None if there are none."""
    folder, names = reports_folder(run), layer_names(run.config)
    probe_path = folder / f"probe-{name}.json"
    retrieval_path = folder / f"retrieval-{name}-{names.last}.json"
    if not (probe_path.exists() and retrieval_path.exists()):
        return None
    report = ProbeReport.load(probe_path)
    retrieval = read_report(retrieval_path, **_RETRIEVAL)
    expected = replace(protocol, layers=protocol.layers or names.map_layers, precision=report.protocol.precision)
    same = report.protocol == expected and retrieval["k"] == K
    current = {report.config_hash, retrieval["config_hash"]} == {run.provenance["config_hash"]}
    images = (retrieval["gallery"], retrieval["queries"]) == (report.train, report.test)
    return EvaluatedRun(run, report, retrieval["precision"], names.last) if same and current and images else None


def _check_weights(run: Run) -> None:
    if not run.finished:
        raise CodialError(
            f"{run.folder} has no finished weights, and no report by this protocol; finish it with `codial pretrain"
            f" {run.folder / 'config.json'} --out {run.folder}`, or leave it out."
        )


def _check_same_images(evaluated: Sequence[EvaluatedRun]) -> None:
    """Check that images and protocol of all probes are the same; only the floating-point precision may differ."""
    first = evaluated[0]
    for each in evaluated:
        if _probe_setting(each) != _probe_setting(first):
            raise CodialError(
                f"{each.run.folder} and {first.run.folder} were probed differently: trained on {each.report.train} and"
                f" {first.report.train}, evaluated on {each.report.test} and {first.report.test}; --again evaluates"
                " all runs alike."
            )


def _probe_setting(each: EvaluatedRun) -> tuple[str, str, Any]:
    """Return images and protocol of a probe, without layers (the backbone's) and precision (the processor's)."""
    return each.report.train, each.report.test, replace(each.report.protocol, layers=(), precision="auto")


def _trained_views(group: RunGroup) -> int:
    """Return the number of views that the group's first run was trained on."""
    return max((line["views"] for line in group.runs[0].history), default=0)


def mean_and_std(values: Sequence[float]) -> str:
    """Format a mean, with the standard deviation if there are several values."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
