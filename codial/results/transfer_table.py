"""Results on PASCAL VOC with the paper's."""

from collections.abc import Mapping, Sequence

from codial.evaluate.transfer.report import TransferReport
from codial.results import paper
from codial.utils.text_table import format_table

COLUMNS = ("voc2007 classification", "voc2007 detection", "voc2012 segmentation")  # of the paper's Table 3


def transfer_table(reports: Mapping[str, Sequence[TransferReport]]) -> str:
    """Return a text table of results in percent, with the paper's below each method.

    Args:
        reports: by name of the run, such as codial/photos: one report for each of `COLUMNS`.
    """
    rows = [("in percent", *(f"{column} {paper.METRICS[column]}" for column in COLUMNS))]
    for name, results in reports.items():
        rows.append((name, *(f"{report.value:.1f}" for report in results)))
        published = [paper.printed_transfer(name.split("/")[0], column) for column in COLUMNS]
        if any(value is not None for value in published):
            cells = ("-" if value is None else f"{value:.1f}" for value in published)
            rows.append(("  the paper, VOC", *cells))
    return format_table(rows)
