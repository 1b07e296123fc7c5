"""Results of CODIAL's variants, by the questions that the paper leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

from codial.errors import CodialError
from codial.methods.codial import CodialConfig, questions
from codial.results.aggregate import RunGroup, final_value, group_by_seed, shortcut_bound
from codial.results.comparison import mean_and_std
from codial.runs.run import Run
from codial.utils.text_table import format_table

COLORS = "colors"  # the bound that critics of mean colors reach on the run's views, see `codial.evaluate.shortcuts`

BOUND = "bound"  # the term of the run's own bound on mutual information: mi_js or another

# Terms at the end of a run: head of the column, factor and decimals.
FINAL_TERMS = {
    "pretext_accuracy": ("pretext", 100, 1),
    BOUND: ("bound", 1, 2),
    COLORS: ("colors", 1, 2),
    "skl": ("skl", 1, 1),
}


@dataclass(frozen=True)
class VariantResult:
    """Results of one variant.

    Attributes:
        method: name of the variant, such as codial-cls.
        label: its answer to the question.
        layers: probe accuracy in percent by layer, one value per run.
        precision: retrieval precision at 7 by the last layer in percent, one value per run.
        final_terms: terms of the history at the end of training, averaged over runs.
    """

    method: str
    label: str
    layers: dict[str, list[float]]
    precision: list[float]
    final_terms: dict[str, float]

    def cells(self) -> tuple[str, ...]:
        """Return a row of a table."""
        terms = [
            f"{factor * self.final_terms[name]:.{decimals}f}" if name in self.final_terms else "-"
            for name, (_, factor, decimals) in FINAL_TERMS.items()
        ]
        accuracies = (mean_and_std(values) for values in self.layers.values())
        return (self.label, *accuracies, mean_and_std(self.precision), *terms)


@dataclass(frozen=True)
class VariantStudy:
    """Results by question, CODIAL's default first, of questions with at least one variant; `str` formats tables."""

    results: dict[str, list[VariantResult]]
    layers: tuple[str, ...]

    def summary(self, layer: str) -> str:
        """Return a line with the best and the worst variant at a layer, relative to the default."""
        default = mean(next(iter(self.results.values()))[0].layers[layer])
        gains = {
            result.method: mean(result.layers[layer]) - default
            for results in self.results.values()
            for result in results[1:]
        }
        best = max(gains, key=gains.__getitem__)
        worst = min(gains, key=gains.__getitem__)
        return (
            f"{layer}, percentage points relative to the default's {default:.1f} %: best of {len(gains)} variants"
            f" {best} {gains[best]:+.1f}, worst {worst} {gains[worst]:+.1f}"
        )

    def difference(self, method: str, other: str) -> str:
        """Return a line with the differences of two methods' mean accuracies at each layer."""
        by_method = {result.method: result for results in self.results.values() for result in results}
        missing = [name for name in (method, other) if name not in by_method]
        if missing:
            return f"{method} - {other}: no reports of {' and '.join(missing)}"
        first = by_method[method].layers
        second = by_method[other].layers
        gains = [f"{layer} {mean(first[layer]) - mean(second[layer]):+.1f}" for layer in self.layers]
        runs = f"{len(first[self.layers[0]])} and {len(second[self.layers[0]])} runs"
        return f"{method} - {other}: {', '.join(gains)} ({runs})"

    def __str__(self) -> str:
        head = ("", *self.layers, "P@7", *(column for column, *_ in FINAL_TERMS.values()))
        return "\n\n".join(
            f"{question}\n{format_table([head, *(result.cells() for result in results)])}"
            for question, results in self.results.items()
        )


class ColorBound(NamedTuple):
    """Bounds of a method that aligns views, averaged over its runs, nats.

    Attributes:
        method: name of the method.
        colors: bound of critics that only get the mean colors of views.
        mi_js: Jensen-Shannon bound at the end of training.
    """

    method: str
    colors: float
    mi_js: float


def color_bounds(runs: Sequence[Run]) -> list[ColorBound]:
    """Compare each method's bound at the end of training with that of its views' mean colors.

    Args:
        runs: the runs; those without a Jensen-Shannon bound or a report of `codial shortcuts` are skipped.
    """
    terms = {group.method: _final_terms(group) for group in group_by_seed(runs)}
    return [ColorBound(method, each[COLORS], each[BOUND]) for method, each in terms.items() if COLORS in each]


def variant_study(runs: Sequence[Run], dataset: str) -> VariantStudy:
    """Collect the results of CODIAL and its variants by question.

    Args:
        runs: runs of one recipe with reports; those that answer no question are ignored.
        dataset: dataset of the probe and retrieval reports.

    Raises:
        CodialError: no run of CODIAL's default has reports, or it does not have the paper's bound.
    """
    groups = {
        group.method: group
        for group in group_by_seed(runs)
        if group.probe_reports(dataset) and group.retrieval_precision(dataset)
    }
    if "codial" not in groups:
        raise CodialError(
            f"There is no run of codial with reports on {dataset}, which variants are compared with; `codial reproduce"
            " cifar10` makes the runs, and publishes them in results/."
        )
    if isinstance(method := groups["codial"].runs[0].config.method, CodialConfig) and method.bound != "js":
        raise CodialError(
            f"The run {groups['codial'].name} has the bound {method.bound}; the questions are about the paper's form"
            ", with js; use runs of another recipe than photos."
        )
    by_question = {
        question: [_result(groups[method], label, dataset) for method, label in labels.items() if method in groups]
        for question, labels in questions().items()
    }
    results = {question: found for question, found in by_question.items() if len(found) > 1}
    return VariantStudy(results, tuple(groups["codial"].probe_reports(dataset)[0].accuracies))


def _result(group: RunGroup, label: str, dataset: str) -> VariantResult:
    reports = group.probe_reports(dataset)
    layers = {layer: [report.mean(layer) for report in reports] for layer in reports[0].accuracies}
    return VariantResult(group.method, label, layers, group.retrieval_precision(dataset), _final_terms(group))


def _final_terms(group: RunGroup) -> dict[str, float]:
    terms = {}
    for name in FINAL_TERMS:
        values = [value for run in group.runs if (value := _final_term(run, name)) is not None]
        if values:
            terms[name] = mean(values)
    return terms


def _final_term(run: Run, name: str) -> float | None:
    """Return a term at the end of a run.

    `BOUND` is the run's own bound; `COLORS` is the colors' Jensen-Shannon bound, if the run's bound is of this kind.
    """
    if name == COLORS:
        return None if final_value(run, "mi_js") is None else shortcut_bound(run, COLORS)
    if name == BOUND:
        return final_value(run, run.config.method.mi_term) if isinstance(run.config.method, CodialConfig) else None
    return final_value(run, name)
