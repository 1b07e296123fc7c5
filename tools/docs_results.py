"""Tables of the documentation from the reports in results/: no number is typed."""

from collections.abc import Sequence
from pathlib import Path

from codial.evaluate.shortcuts import CUES
from codial.results import paper
from codial.results.aggregate import RunGroup, final_value, group_by_seed, shortcut_bound
from codial.results.comparison import K, mean_and_std
from codial.runs.run import list_runs
from codial.utils.json_io import read_json

RESULTS = Path(__file__).resolve().parents[1] / "results"
SOURCES = {"photos": "photos", "cifar10": "cifar10", "short": "cifar10"}  # data set on which a recipe's runs are probed


def method_table(recipe: str) -> str:
    """Return accuracies and precision of the published runs of a recipe, a row for each method, as a Markdown table."""
    return _table(recipe, [group for group in published(recipe) if "-" not in group.method])


def variant_table(recipe: str) -> str:
    """Return the same for CODIAL and its variants."""
    return _table(recipe, [group for group in published(recipe) if group.method.split("-")[0] == "codial"])


def _table(recipe: str, groups: Sequence[RunGroup]) -> str:
    layers = list(groups[0].probe_reports(SOURCES[recipe])[0].accuracies)
    rows = [[f"`{group.name}`", str(len(group.runs)), *cells(group, SOURCES[recipe], layers)] for group in groups]
    return markdown_table(["preset", "runs", *layers, f"P@{K}"], rows)


def published(recipe: str) -> list[RunGroup]:
    """Return the published runs of a recipe, a group for each preset: references first, then CODIAL, then the others.

    Runs without a probe report are left out.
    """
    folders = [folder for folder in sorted(RESULTS.iterdir()) if folder.name.split("-seed")[0] == recipe]
    runs = [run for folder in folders for run in list_runs(folder)]
    groups = [group for group in group_by_seed(runs) if group.probe_reports(SOURCES[recipe])]
    return sorted(groups, key=lambda group: (_rank(group), group.name))


def cells(group: RunGroup, dataset: str, layers: Sequence[str]) -> list[str]:
    """Return mean and standard deviation over runs of each layer's accuracy and of the retrieval precision."""
    reports = group.probe_reports(dataset)
    columns = [[report.mean(layer) for report in reports] for layer in layers]
    return [mean_and_std(column) for column in [*columns, group.retrieval_precision(dataset)]]


def paper_table() -> str:
    """Return the paper's numbers of random weights and CODIAL as a Markdown table."""
    printed = {method: paper.printed_accuracies(method) for method in ("random", "codial")}
    numbers = {method: found for method, found in printed.items() if found is not None}
    layers = list(numbers["codial"][1])
    rows = [
        [f"{method}, {source}", *(f"{by_layer[layer]:.1f}" for layer in layers)]
        for method, (source, by_layer) in numbers.items()
    ]
    return markdown_table(["the paper", *layers], rows)


def bench_table() -> str:
    """Return the speeds that `make bench` measured, of codial and of all that it is compared with."""
    rows = []
    for part, measured in read_json(RESULTS / "bench-cpu.json").items():
        for case, rates in measured["cases"].items():
            speeds = {name: _number(rate["per_second"]) for name, rate in rates.items()}
            ours = speeds.pop("codial")
            others = "<br>".join(f"{name}: {speed}" for name, speed in speeds.items())
            rows.append([part, case, f"{ours} {measured['unit']}", others])
    return markdown_table(["part", "case", "codial", "others"], rows)


def shortcut_table() -> str:
    """Return the bounds that simple cues reach on CIFAR-10, and those of the runs, over runs with this measurement."""
    rows = []
    for group in published("cifar10"):
        readings = [[*(shortcut_bound(run, cue) for cue in CUES), final_value(run, "mi_js")] for run in group.runs]
        measured = [reading for reading in readings if None not in reading]
        if measured:
            rows.append(
                [f"`{group.name}`", str(len(measured)), *(_range(column) for column in zip(*measured, strict=True))]
            )
    return markdown_table(["preset", "runs", *CUES, "the run's bound"], rows)


def transfer_table() -> str:
    """Return the published measurements of transfer as a Markdown table."""
    rows = []
    for path in sorted(RESULTS.glob("voc-mini/*/transfer-*.json"), reverse=True):
        report, task = read_json(path), path.stem.rpartition("-")[2]
        images = report["test"].rpartition(" ")[0]  # without the fingerprint
        rows.append(
            [f"`{report['name']}`, {path.parent.name}", task, images, f"{report['value']:.1f} % {report['metric']}"]
        )
    return markdown_table(["weights", "task", "test images", "result"], rows)


def fault_table() -> str:
    """Return the counts of injected and survived faults as a Markdown table."""
    kinds = read_json(RESULTS / "faults.json")["faults"]["by kind"]
    rows = [[kind, str(count["injected"]), str(count["survived"])] for kind, count in kinds.items()]
    return markdown_table(["fault", "injected", "survived"], rows)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; columns of numbers are aligned to the right."""
    numeric = [all(row[i][:1].isdigit() for row in rows) for i in range(len(head))]
    lines = [head, ["---:" if each else "---" for each in numeric], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _range(values: Sequence[float]) -> str:
    low, high = (f"{round(value, 2) + 0.0:.2f}" for value in (min(values), max(values)))  # no "-0.00"
    return low if low == high else f"{low} to {high}"


def _rank(group: RunGroup) -> int:
    first = ("random", "supervised", "codial")
    return first.index(group.method) if group.method in first else len(first)
