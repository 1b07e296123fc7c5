"""The paper's tables with our runs' numbers in them: what `codial table` prints.

A difference is printed only where data and scale are the paper's; elsewhere stands what they differ in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean
from textwrap import fill

from codial import paper
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.reports import Group, groups, probed_sets
from codial.runs import Run
from codial.scale import differences
from codial.tables import laid_out, spread

_WIDTH = 100  # columns of prose, for a notebook at 1280 pixels
_NONE = "no report"


@dataclass
class Block:
    """One data set's columns, or those of several with one number each, and the notes beneath them."""

    head: tuple[str, ...]
    lines: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = (fill(note, _WIDTH, break_on_hyphens=False, break_long_words=False) for note in self.notes)
        return "\n".join([laid_out([self.head, *self.lines]), *told])


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables, ours beside it; `str` lays it out, a block for each data set."""

    number: int
    title: str
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        head = f"Table {self.number} of the paper. {self.title}."
        notes = [fill(note, _WIDTH, break_on_hyphens=False) for note in self.notes]
        return "\n\n".join([fill(head, _WIDTH), *map(str, self.blocks), *notes])


def paper_table(number: int, runs: Iterable[Run] = ()) -> PaperTable:
    """Lay out one of the paper's tables, with the numbers of runs beneath the paper's; nothing is measured.

    Args:
        number: 1, 2 or 3.
        runs: finished or published ones; those that differ in nothing but their seeds are one line, mean and standard
            deviation. Sets that the paper's table lacks get a block of their own.

    Raises:
        CodialError: there is no such table, or reports of one configuration's seeds are not alike.
    """
    if number not in paper.TABLES:
        raise CodialError(f"There is no Table {number!r}; the paper has {', '.join(map(str, paper.TABLES))}.")
    table, ours = paper.TABLES[number], groups(runs)
    rows = {row: [group for group in ours if _belongs(group, row)] for row in table.rows}
    placed = [group for group in ours if any(group in found for found in rows.values())]
    sets = list(dict.fromkeys(data for data, _ in table.columns))
    layered = [data for data in sets if (data, paper.LAYERS[0]) in table.columns]
    blocks = [_layered(table, data, rows) for data in layered]
    if singles := [data for data in sets if data not in layered]:
        blocks.append(_singles(table, singles, rows))
    own = [name for name in probed_sets(run for group in placed for run in group.runs) if name not in sets]
    blocks += [_own(name, layered[0], rows) for name in own]
    notes = _notes(table, ours, placed)
    return PaperTable(number, table.title, tuple(blocks), tuple(notes))


def _belongs(group: Group, row: str) -> bool:
    """Whether a configuration is what a row shows; the two rows of labels differ in the pictures learnt from."""
    of_places = group.config.data.source == "places205"
    labels = {"Places Labels": of_places, "ImageNet Labels": not of_places}
    return group.system == paper.SYSTEMS[row] and labels.get(row, True)


def _notes(table: paper.Table, ours: Sequence[Group], placed: Sequence[Group]) -> Iterable[str]:
    if any(len(group.runs) > 1 for group in placed):
        yield "± is one standard deviation over runs with different seeds."
    if left := [group.name for group in ours if group not in placed]:
        yield f"Table {table.number} has no row for {', '.join(left)}."


# Blocks with a column for each layer.


def _layered(table: paper.Table, data: str, rows: dict[str, list[Group]]) -> Block:
    block = Block((f"{data}, {paper.METRICS.get(data, 'top-1')} in percent", "runs", *paper.LAYERS))
    reported = [group for group in _distinct(rows) if group.probed(data)]
    for row, found in rows.items():
        printed = table.numbers(row, data)
        cells = [_number(printed[layer]) for layer in paper.LAYERS]
        block.lines.append((row + "*" * bool(paper.flags(table.number, row, data)), "", *cells))
        for group in found if reported else ():
            block.lines += _probed_lines(group, data, printed)
    block.notes += _flagged(table, (data,))
    block.notes += _incomparable({group: _reasons(group, data) for group in reported}, data)
    block.notes += _missing(_distinct(rows), data)
    block.notes += _judged(reported, data)
    return block


def _probed_lines(group: Group, data: str, printed: dict[str, float | None]) -> Iterable[tuple[str, ...]]:
    """Yield a configuration's line, and its differences where they mean something."""
    values = _by_layer(group.probed(data))
    if not values:
        yield (f"  {group.name}", "0", _NONE, *[""] * (len(paper.LAYERS) - 1))
        return
    told = [values.get(layer, []) for layer in paper.LAYERS]
    yield (f"  {group.name}", str(len(group.probed(data))), *(spread(each) if each else "" for each in told))
    if printed and not _reasons(group, data):
        cells = (_difference(each, printed[layer]) for layer, each in zip(paper.LAYERS, told, strict=True))
        yield ("  difference", "", *cells)


def _own(name: str, beside: str, rows: dict[str, list[Group]]) -> Block:
    """Lay out what was measured on a set that the table does not have; `beside` is the paper's nearest column."""
    block = Block((f"{name}, in percent", "runs", *paper.LAYERS))
    reported = [group for group in _distinct(rows) if group.probed(name)]
    for row, found in rows.items():
        for group in (group for group in found if group in reported):
            for first, *cells in _probed_lines(group, name, {}):
                block.lines.append((f"{row}: {first.strip()}", *cells))
    probed = f"probed on {name}, not {beside}"
    block.notes += _incomparable({group: [*differences(group.runs[0], beside), probed] for group in reported}, "above")
    own = [group for group in _distinct(rows) if group.config.data.source == name]
    block.notes += _missing(own, name) + _judged(reported, name)
    return block


# The block of sets and tasks with one number each.


def _singles(table: paper.Table, names: Sequence[str], rows: dict[str, list[Group]]) -> Block:
    """Lay out one number a column: of a set our best layer, by its name; of a transfer its own measure."""
    block = Block(("in percent", "runs", *(f"{name} {paper.METRICS.get(name, '')}".strip() for name in names)))
    ours = _distinct(rows)
    found = {(group, name): value for group in ours for name in names if (value := _single(group, name)) is not None}
    reported = [group for group in ours if any((group, name) in found for name in names)]
    for row, given in rows.items():
        printed = {name: table.numbers(row, name)[""] for name in names}
        flagged = "*" * any(paper.flags(table.number, row, name) for name in names)
        block.lines.append((row + flagged, "", *(_number(printed[name]) for name in names)))
        for group in (group for group in given if group in reported):
            told = [found.get((group, name)) for name in names]
            cells = [f"{spread(each[1])} {each[0]}".strip() if each else _NONE for each in told]
            block.lines.append((f"  {group.name}", str(len(group.runs)), *cells))
            fair = [
                each[1] if each and not _reasons(group, name) else [] for name, each in zip(names, told, strict=True)
            ]
            if any(fair):
                gaps = (_difference(each, printed[name]) for name, each in zip(names, fair, strict=True))
                block.lines.append(("  difference", "", *gaps))
    block.notes += _flagged(table, names)
    for name in names:
        having = [group for group in ours if (group, name) in found]
        block.notes += _incomparable({group: _reasons(group, name) for group in having}, name)
        block.notes += _missing(ours, name)
        block.notes += _judged(having, name)
    return block


def _single(group: Group, name: str) -> tuple[str, list[float]] | None:
    """Return which layer is best, "" for a transfer, and each run's number."""
    if " " in name:
        values = group.transferred(name.replace(" ", "-"))
        return ("", values) if values else None
    layers = _by_layer(group.probed(name))
    return max(layers.items(), key=lambda item: mean(item[1])) if layers else None


# What all blocks need.


def _distinct(rows: dict[str, list[Group]]) -> list[Group]:
    return list(dict.fromkeys(group for found in rows.values() for group in found))


def _by_layer(reports: Sequence[ProbeReport]) -> dict[str, list[float]]:
    layers = dict.fromkeys(layer for report in reports for layer in report.accuracies)
    return {layer: [r.mean(layer) for r in reports if layer in r.accuracies] for layer in layers}


def _reasons(group: Group, column: str) -> list[str]:
    reports = group.probed(column)
    known, asked = (reports[0].train, reports[0].test) if reports else ("", "")
    return list(dict.fromkeys(text for run in group.runs for text in differences(run, column, known, asked)))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _difference(values: Sequence[float], printed: float | None) -> str:
    return f"{mean(values) - printed:+.1f}" if values and printed is not None else ""


def _flagged(table: paper.Table, names: Sequence[str]) -> list[str]:
    """Return what is wrong with printed numbers, each misprint once."""
    found = ((row, why) for row in table.rows for name in names for why in paper.flags(table.number, row, name))
    return [f"* {row}: {why}" for row, why in dict.fromkeys(found)]


def _incomparable(reasons: dict[Group, list[str]], column: str) -> list[str]:
    """Return a sentence for all configurations that have the same reasons."""
    gathered: dict[str, list[str]] = {}
    for group, found in reasons.items():
        if found:
            gathered.setdefault("; ".join(found), []).append(group.name)
    where = "the columns above" if column == "above" else f"the paper's {column}"
    return [f"{', '.join(names)}: not comparable with {where} because of {why}." for why, names in gathered.items()]


def _missing(ours: Sequence[Group], name: str) -> list[str]:
    """Return which configurations' reports are not there, and the command that makes them."""
    transfer = " " in name
    report = f"transfer-{name.replace(' ', '-')}" if transfer else f"probe-{name}"
    lacking = {group.name: group.lacking(report) for group in ours}
    told = [f"{group} ({len(runs)})" if len(runs) > 1 else group for group, runs in lacking.items() if runs]
    command = f"codial transfer {name.replace(' ', '-')} RUN" if transfer else f"codial probe RUN --train {name}"
    return [f"No report on {name} of {', '.join(told)}: `{command}` makes one, where the weights are."] if told else []


def _judged(ours: Sequence[Group], name: str) -> list[str]:
    """Return by which pictures and which protocol the numbers came about."""
    gathered: dict[str, list[str]] = {}
    for group in ours:
        for report in group.probed(name)[:1]:
            told = f"probes learnt from {report.train}, judged on {report.test}; {report.protocol.describe()}"
            gathered.setdefault(told, []).append(group.name)
    single = len(gathered) == 1
    return [f"On {name}{'' if single else ' for ' + ', '.join(names)}: {told}." for told, names in gathered.items()]
