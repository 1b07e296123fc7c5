"""The command `codial table`."""

from typing import Annotated

import typer

from codial.cli.inputs import open_runs
from codial.cli.options import OptionalRuns

EXAMPLES = """\
  codial table 2
  codial table 1 results/cifar10*/*
  codial table 2 runs/photos/codial runs/photos/codial-cls"""


def table(
    number: Annotated[int, typer.Argument(min=1, max=3, metavar="N", help="Number of the paper's table.")],
    runs: OptionalRuns = None,
) -> None:
    """Print a table of the paper with the numbers of runs.

    The numbers of the runs are below the paper's. Differences are printed only if data and scale are the paper's;
    otherwise the reason why the numbers are not comparable is. For missing measurements the command is named that makes
    them; nothing is measured here. Likely misprints of the paper are marked by a star.
    """
    opened = open_runs(runs or ())
    from codial.results.paper_tables import paper_table

    print(paper_table(number, opened.values()))
