"""The command `codial export`."""

from pathlib import Path
from typing import Annotated

import typer

import codial
from codial.cli.options import Run
from codial.runs.summary import require_run

EXAMPLES = """\
  codial export runs/cifar10/codial
  codial export runs/mine --name my-birds --out ~/shared"""


def export(
    run: Run,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the new folder.", show_default="METHOD-RECIPE")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the new folder.", show_default="the project's results/weights"),
    ] = None,
) -> None:
    """Export the convolutional layers of a finished run.

    The new folder is small enough to share: it has conv1 to conv5 at half precision, config, provenance, reports and a
    model card. It can be opened like a run;
    notebooks open those in results/weights by name. Probe the run and measure retrieval before, so that the model card
    has the numbers.
    """
    require_run(run)
    from codial.runs.export import export

    folder = export(codial.open_run(run), out and out.expanduser(), name)
    size = (folder / "checkpoints/last.safetensors").stat().st_size
    print(f"{folder}: conv1 to conv5, {size / 1e6:.1f} MB, and README.md, the model card")
