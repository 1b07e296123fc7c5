"""The command `codial publish`."""

from pathlib import Path
from typing import Annotated

import typer

from codial.cli.inputs import open_runs
from codial.cli.options import Runs

EXAMPLES = """\
  codial publish runs/photos/*"""


def publish(
    runs: Runs,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of published results.")] = Path("results"),
) -> None:
    """Copy the results of finished runs, without weights.

    The copy has config, history, provenance and reports, and is small enough to commit: runs/photos/codial goes to
    results/photos/codial. Reports of an older copy are replaced.
    """
    opened = open_runs(runs)
    from codial.runs.publish import publish

    for run in opened.values():
        print(f"{run.folder} -> {publish(run, out)}")
