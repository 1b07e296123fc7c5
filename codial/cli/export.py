"""The command `codial export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

import codial
from codial.cli.options import Run
from codial.runs.summary import require_run

EXAMPLES = """\
  codial export runs/cifar10/codial
  codial export runs/mine --layers all --precision full --out ~/shared
  codial export runs/mine --name my-birds --license mit --program"""

Layers = Annotated[
    Literal["maps", "all"] | None,
    typer.Option(
        help="maps leaves out layers after the last maps: fc6 and fc7 of AlexNet, nothing of a ResNet.",
        show_default="maps",
    ),
]
Precision = Annotated[
    Literal["half", "full"] | None,
    typer.Option(help="half rounds to float16; full keeps every bit.", show_default="half"),
]
License = Annotated[
    str | None,
    typer.Option(metavar="ID", help="License of the weights, for the model card, such as mit.", show_default="unknown"),
]


def export(
    run: Run,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the new folder.", show_default="METHOD-RECIPE")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the new folder.", show_default="the project's results/weights"),
    ] = None,
    layers: Layers = None,
    precision: Precision = None,
    license: License = None,
    program: Annotated[
        bool,
        typer.Option("--program", help="Also write backbone.pt2, which torch.export.load opens without codial."),
    ] = False,
) -> None:
    """Export the backbone of a finished run, for others to use.

    The new folder has the weights, config, provenance, reports and a model card. `codial.load_backbone(FOLDER)` opens
    it anywhere, without the data set and the packages of the notebooks. It can also be opened like a run; notebooks
    open those in results/weights by name. Probe the run and measure retrieval before, so that the model card has the
    numbers.
    """
    require_run(run)
    from codial.runs.export import export

    given = {"layers": layers, "precision": precision, "license": license}
    options = {key: value for key, value in given.items() if value is not None}
    folder = export(codial.open_run(run), out and out.expanduser(), name, program=program, **options)
    size = (folder / "checkpoints/last.safetensors").stat().st_size
    exported = codial.load_backbone(folder).layers
    files = "README.md, the model card, and backbone.pt2" if program else "and README.md, the model card"
    print(f"{folder}: {exported[0]} to {exported[-1]}, {size / 1e6:.1f} MB, {files}")
