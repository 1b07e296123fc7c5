"""The command `codial runs`."""

from pathlib import Path
from typing import Annotated

import typer

from codial.errors import CodialError
from codial.runs.summary import list_summaries
from codial.utils.text_table import format_table

EXAMPLES = """\
  codial runs
  codial runs runs/photos"""


def runs(root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder to search.")] = Path("runs")) -> None:
    """List the runs below a folder.

    Each line has the state of a run and the best accuracies of its monitors on held-out training images: nearest
    neighbors on the last layer (kNN), and a quick linear probe on the last maps.
    """
    summaries = list_summaries(root)
    if not summaries:
        raise CodialError(f"There is no run below {root}; `codial pretrain codial/photos` creates one.")
    rows = [
        [run.name, run.state, run.best_percent("knn"), run.best_percent("probe"), str(run.folder)] for run in summaries
    ]
    print(format_table([["run", "state", "best kNN", "best quick probe", "folder"], *rows]))
