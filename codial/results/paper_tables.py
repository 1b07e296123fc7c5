"""The paper's tables with the numbers of our runs: what `codial table` prints.

Differences are printed only for runs whose data and scale are the paper's; for other runs the notes give the reasons
why numbers are not comparable.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean
from textwrap import fill

from codial.config.registry import BACKBONE
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.results import paper
from codial.results.aggregate import RunGroup, group_by_seed
from codial.results.comparability import differences
from codial.results.comparison import mean_and_std
from codial.runs.reports import probed_sets
from codial.runs.run import Run
from codial.utils.text_table import format_table

Groups = dict[str, list[RunGroup]]  # by row of the paper's table

_WIDTH = 100  # columns of text
_NO_REPORT = "no report"


@dataclass
class Block:
    """Part of a table: the layers of one dataset, or several datasets and tasks with one number each, and notes."""

    head: tuple[str, ...]
    lines: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        notes = (fill(note, _WIDTH, break_on_hyphens=False, break_long_words=False) for note in self.notes)
        return "\n".join([format_table([self.head, *self.lines]), *notes])


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables with our numbers; `str` formats its blocks."""

    number: int
    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        head = f"Table {self.number} of the paper. {self.title}."
        notes = [fill(note, _WIDTH, break_on_hyphens=False) for note in self.notes]
        return "\n\n".join([fill(head, _WIDTH), *map(str, self.blocks), *notes])


def paper_table(number: int, runs: Iterable[Run] = ()) -> PaperTable:
    """Return one of the paper's tables with the numbers of runs below the paper's; nothing is evaluated.

    Args:
        number: 1, 2 or 3.
        runs: finished or published runs. Runs that differ only in their seeds are one row, with mean and standard
            deviation. Datasets that are not in the paper's table get a block of their own.

    Raises:
        CodialError: there is no such table, or reports of one group are of different images or protocols.
    """
    if number not in paper.TABLES:
        raise CodialError(f"There is no Table {number!r}; the paper has {', '.join(map(str, paper.TABLES))}.")
    table = paper.TABLES[number]
    groups = group_by_seed(runs)
    rows = {row: [group for group in groups if _belongs(group, row)] for row in table.rows}
    placed = _unique(rows)
    datasets = list(dict.fromkeys(data for data, _ in table.columns))
    layered = [data for data in datasets if (data, paper.LAYERS[0]) in table.columns]
    blocks = [_layer_block(table, data, rows) for data in layered]
    if singles := [data for data in datasets if data not in layered]:
        blocks.append(_single_block(table, singles, rows))
    others = [name for name in probed_sets(run for group in placed for run in group.runs) if name not in datasets]
    blocks += [_other_block(name, layered[0], rows) for name in others]
    return PaperTable(number, table.title, tuple(blocks), tuple(_notes(table, groups, placed)))


def _belongs(group: RunGroup, row: str) -> bool:
    """Return whether a group belongs to a row of AlexNets; the rows of labels differ in the dataset of pretraining."""
    of_places = group.config.data.source == "places205"
    labels = {"Places Labels": of_places, "ImageNet Labels": not of_places}
    is_alexnet = group.config.model.backbone == BACKBONE
    return is_alexnet and group.method == paper.METHODS[row] and labels.get(row, True)


def _notes(table: paper.Table, groups: Sequence[RunGroup], placed: Sequence[RunGroup]) -> Iterator[str]:
    if any(len(group.runs) > 1 for group in placed):
        yield "± is one standard deviation over runs with different seeds."
    if unplaced := [group.name for group in groups if group not in placed]:
        yield f"Table {table.number} has no row for {', '.join(unplaced)}."


# Blocks with a column per layer.


def _layer_block(table: paper.Table, data: str, rows: Groups) -> Block:
    block = Block((f"{data}, {paper.METRICS.get(data, 'top-1')} in percent", "runs", *paper.LAYERS))
    reported = [group for group in _unique(rows) if group.probe_reports(data)]
    for row, groups in rows.items():
        published = table.numbers(row, data)
        cells = [_number(published[layer]) for layer in paper.LAYERS]
        block.lines.append((row + "*" * bool(paper.flags(table.number, row, data)), "", *cells))
        for group in groups if reported else ():
            block.lines += _layer_rows(group, data, published)
    block.notes += _misprints(table, (data,))
    block.notes += _incomparable({group: _reasons(group, data) for group in reported}, f"the paper's {data}")
    block.notes += _missing_reports(_unique(rows), data)
    block.notes += _protocols(reported, data)
    return block


def _layer_rows(group: RunGroup, data: str, published: dict[str, float | None]) -> Iterator[tuple[str, ...]]:
    """Yield a group's row, and a row of differences from the paper if the numbers are comparable."""
    reports = group.probe_reports(data)
    if not reports:
        yield (f"  {group.name}", "0", _NO_REPORT, *[""] * (len(paper.LAYERS) - 1))
        return
    by_layer = _by_layer(reports)
    values = [by_layer.get(layer, []) for layer in paper.LAYERS]
    yield (f"  {group.name}", str(len(reports)), *(mean_and_std(each) if each else "" for each in values))
    if published and not _reasons(group, data):
        cells = (_difference(each, published[layer]) for layer, each in zip(paper.LAYERS, values, strict=True))
        yield ("  difference", "", *cells)


def _other_block(name: str, column: str, rows: Groups) -> Block:
    """Return the block of a dataset that the table does not have; `column` is the paper's most similar dataset."""
    block = Block((f"{name}, in percent", "runs", *paper.LAYERS))
    reported = [group for group in _unique(rows) if group.probe_reports(name)]
    for row, groups in rows.items():
        for group in (group for group in groups if group in reported):
            for first, *cells in _layer_rows(group, name, {}):
                block.lines.append((f"{row}: {first.strip()}", *cells))
    probed = f"probed on {name}, not {column}"
    reasons = {group: [*differences(group.runs[0], column), probed] for group in reported}
    block.notes += _incomparable(reasons, "the columns above")
    own = [group for group in _unique(rows) if group.config.data.source == name]
    block.notes += _missing_reports(own, name) + _protocols(reported, name)
    return block


# The block of datasets and tasks with one number each.


def _single_block(table: paper.Table, names: Sequence[str], rows: Groups) -> Block:
    """Return a block of one number per column: the best layer's accuracy for datasets, the task's metric for tasks."""
    block = Block(("in percent", "runs", *(f"{name} {paper.METRICS.get(name, '')}".strip() for name in names)))
    groups = _unique(rows)
    values = {(group, name): value for group in groups for name in names if (value := _single_value(group, name))}
    reported = [group for group in groups if any((group, name) in values for name in names)]
    for row, of_row in rows.items():
        published = {name: table.numbers(row, name)[""] for name in names}
        flagged = "*" * any(paper.flags(table.number, row, name) for name in names)
        block.lines.append((row + flagged, "", *(_number(published[name]) for name in names)))
        for group in (group for group in of_row if group in reported):
            block.lines += _single_rows(group, {name: values.get((group, name)) for name in names}, published)
    block.notes += _misprints(table, names)
    for name in names:
        having = [group for group in groups if (group, name) in values]
        block.notes += _incomparable({group: _reasons(group, name) for group in having}, f"the paper's {name}")
        block.notes += _missing_reports(groups, name)
        block.notes += _protocols(having, name)
    return block


def _single_rows(
    group: RunGroup, values: dict[str, tuple[str, list[float]] | None], published: dict[str, float | None]
) -> Iterator[tuple[str, ...]]:
    """Yield a group's row, and a row of differences from the paper if any number is comparable."""
    cells = [f"{mean_and_std(value[1])} {value[0]}".strip() if value else _NO_REPORT for value in values.values()]
    yield (f"  {group.name}", str(len(group.runs)), *cells)
    comparable = {name: value[1] if value and not _reasons(group, name) else [] for name, value in values.items()}
    if any(comparable.values()):
        yield ("  difference", "", *(_difference(each, published[name]) for name, each in comparable.items()))


def _single_value(group: RunGroup, name: str) -> tuple[str, list[float]] | None:
    """Return the best layer ("" for a task) and its value for each run; None without reports."""
    if " " in name:
        values = group.transfer_values(name.replace(" ", "-"))
        return ("", values) if values else None
    layers = _by_layer(group.probe_reports(name))
    return max(layers.items(), key=lambda item: mean(item[1])) if layers else None


# Helpers of all blocks.


def _unique(rows: Groups) -> list[RunGroup]:
    return list(dict.fromkeys(group for groups in rows.values() for group in groups))


def _by_layer(reports: Sequence[ProbeReport]) -> dict[str, list[float]]:
    layers = dict.fromkeys(layer for report in reports for layer in report.accuracies)
    return {layer: [r.mean(layer) for r in reports if layer in r.accuracies] for layer in layers}


def _reasons(group: RunGroup, column: str) -> list[str]:
    reports = group.probe_reports(column)
    train, test = (reports[0].train, reports[0].test) if reports else ("", "")
    return list(dict.fromkeys(reason for run in group.runs for reason in differences(run, column, train, test)))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _difference(values: Sequence[float], published: float | None) -> str:
    return f"{mean(values) - published:+.1f}" if values and published is not None else ""


def _misprints(table: paper.Table, names: Sequence[str]) -> list[str]:
    """Return a note for each misprint of the paper."""
    pairs = ((row, reason) for row in table.rows for name in names for reason in paper.flags(table.number, row, name))
    return [f"* {row}: {reason}" for row, reason in dict.fromkeys(pairs)]


def _incomparable(reasons: dict[RunGroup, list[str]], columns: str) -> list[str]:
    """Return a note for each set of reasons, with all groups that have them."""
    names: dict[str, list[str]] = {}
    for group, found in reasons.items():
        if found:
            names.setdefault("; ".join(found), []).append(group.name)
    return [f"{', '.join(groups)}: not comparable with {columns}: {reason}." for reason, groups in names.items()]


def _missing_reports(groups: Sequence[RunGroup], name: str) -> list[str]:
    """Return a note on groups without a report, with the command that makes it."""
    is_task = " " in name
    report = f"transfer-{name.replace(' ', '-')}" if is_task else f"probe-{name}"
    missing = {group.name: len(group.without_report(report)) for group in groups}
    names = [f"{group} ({count})" if count > 1 else group for group, count in missing.items() if count]
    command = f"codial transfer {name.split()[-1]} RUN" if is_task else f"codial probe RUN --train {name}"
    return (
        [f"No report on {name} of {', '.join(names)}: `{command}` makes one from a run with weights."] if names else []
    )


def _protocols(groups: Sequence[RunGroup], name: str) -> list[str]:
    """Return a note for each set of images and protocol, with all groups that have them."""
    names: dict[str, list[str]] = {}
    for group in groups:
        for report in group.probe_reports(name)[:1]:
            text = f"probes trained on {report.train}, evaluated on {report.test}; {report.protocol.describe()}"
            names.setdefault(text, []).append(group.name)
    single = len(names) == 1
    return [f"On {name}{'' if single else ' for ' + ', '.join(groups)}: {text}." for text, groups in names.items()]
