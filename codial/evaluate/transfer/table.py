"""Transfer's three numbers beside the paper's."""

from collections.abc import Mapping, Sequence

from codial import paper
from codial.evaluate.transfer.report import TransferReport

COLUMNS = ("voc2007 classification", "voc2007 detection", "voc2012 segmentation")  # of the paper's Table 3


def transfer_table(reports: Mapping[str, Sequence[TransferReport]]) -> str:
    """Lay out numbers in percent, the paper's beneath each system's.

    Args:
        reports: by run, such as codial/photos, for each of `COLUMNS`.
    """
    lines = [f"{'in percent':<22}" + "".join(f"{column + ' ' + paper.METRICS[column]:>30}" for column in COLUMNS)]
    for name, each in reports.items():
        lines.append(f"{name:<22}" + "".join(f"{report.value:>30.1f}" for report in each))
        printed = [paper.transferred(name.split("/")[0], column) for column in COLUMNS]
        if any(number is not None for number in printed):
            told = ("-" if number is None else f"{number:.1f}" for number in printed)
            lines.append(f"{'  the paper, VOC':<22}" + "".join(f"{number:>30}" for number in told))
    return "\n".join(lines)
