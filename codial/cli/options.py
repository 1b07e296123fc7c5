"""Options and arguments that several commands share, as annotated types of their parameters."""

from pathlib import Path
from typing import Annotated

import typer

PROBE_EPOCHS = 20  # default of the probes' --epochs

Runs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")]
OptionalRuns = Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Run folders.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]

Train = Annotated[
    str | None, typer.Option(metavar="DATA", help="Labeled training images.", show_default="the first run's data set")
]
TrainSplit = Annotated[str, typer.Option(metavar="SPLIT", help="Split of the training images.")]
Test = Annotated[
    str | None, typer.Option(metavar="DATA", help="Labeled test images.", show_default="the data set of --train")
]
TestSplit = Annotated[str, typer.Option(metavar="SPLIT", help="Split of the test images.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Use at most N images of each data set, sampled per class."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the named data sets.", show_default="$CODIAL_DATA, then data/"),
]

Layer = Annotated[
    str, typer.Option(metavar="NAME", help="Layer of the features.", show_default="the backbone's last layer")
]
ProbeSeeds = Annotated[int, typer.Option(min=1, metavar="N", help="Number of seeds of the classifiers.")]

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as train.epochs=5; repeatable."),
]
Minutes = Annotated[
    float | None, typer.Option(min=0, metavar="N", help="Save and stop after N minutes.", show_default="no limit")
]
RunsRoot = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the runs.")]

Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
