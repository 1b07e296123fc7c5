"""The command `codial reproduce`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from codial.cli.options import DataRoot, Minutes, Quiet, RunsRoot
from codial.cli.output import OK, print_sweep

EXAMPLES = """\
  codial reproduce cifar10
  codial reproduce cifar10 --budget short
  codial reproduce cifar10 --budget brief --minutes 9
  codial reproduce cifar10 --list"""

Study = Literal["cifar10"]
Budget = Literal["short", "small", "brief", "full"]


def reproduce(
    data: Annotated[Study, typer.Argument(metavar="cifar10", help="Data set of the study.")],
    budget: Annotated[Budget, typer.Option(help="Scale of the runs.")] = "small",
    minutes: Minutes = None,
    list_runs: Annotated[bool, typer.Option("--list", help="Print the runs, and exit.")] = False,
    out: RunsRoot = Path("runs"),
    publish: Annotated[Path, typer.Option(metavar="DIR", help="Folder of published results.")] = Path("results"),
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> int:
    """Reproduce the study of CIFAR-10.

    Trains CODIAL, its ablations and its baselines, the most important runs first, probes all layers, measures
    retrieval, and publishes config, history and reports of each run. The budgets short and small are for a CPU (minutes
    per run), brief (20 epochs) and full (200 epochs) for a GPU.

    Finished runs are skipped, so the same command continues the study.
    """
    from codial.experiments.reproduce import study
    from codial.experiments.sweep import sweep

    planned = study(data, budget, out)
    if list_runs:
        print("\n".join(f"{run}: {run.folder}" for run in planned))
        return OK
    result = sweep(planned, probe=True, publish_to=publish, root=data_root, minutes=minutes, progress=not quiet)
    return print_sweep(result, len(planned))
