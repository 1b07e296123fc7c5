"""The command `codial probe`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import codial
from codial.cli.inputs import LabeledData, open_runs, split_names
from codial.cli.options import (
    DataRoot,
    Device,
    Limit,
    ProbeSeeds,
    Quiet,
    Runs,
    Test,
    TestSplit,
    Train,
    TrainSplit,
)
from codial.errors import CodialError
from codial.utils.text_table import format_table

if TYPE_CHECKING:
    from codial.evaluate.probes.probe import ProbeReport, Protocol

EXAMPLES = """\
  codial probe runs/photos/codial runs/photos/random
  codial probe runs/cifar10/codial --limit 2000 --epochs 10
  codial probe runs/mine --train ~/labeled-images --layers conv4,conv5
  codial probe runs/cifar10/codial --protocol zhang --steps 500
  codial probe runs/cifar10/codial --protocol globstat --epochs 20 --seeds 1"""

ProtocolName = Literal["codial", "zhang", "globstat"]


def probe(
    runs: Runs,
    train: Train = None,
    train_split: TrainSplit = "train",
    test: Test = None,
    test_split: TestSplit = "test",
    limit: Limit = None,
    layers: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Layers, separated by commas.", show_default="all layers with maps"),
    ] = "",
    protocol: Annotated[ProtocolName, typer.Option(help="Protocol of the probes.")] = "codial",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Epochs of the classifiers.", show_default="codial 20, globstat 900"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Steps of the classifiers.", show_default="zhang 140000")
    ] = None,
    seeds: ProbeSeeds = 3,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train linear classifiers on frozen layers.

    The classifiers are trained on the training split and evaluated on the test split, by top-1 accuracy or, if images
    have several tags each, by mean average precision; the standard deviation is over seeds of the classifiers.

    The protocols zhang (Zhang et al., 2016) and globstat (GlobStat's for STL-10) train on random crops instead of
    features that are computed once; at full length they need a GPU.

    The report of each run is saved in its `evaluations` folder. Compare with an untrained network (random/...) and one
    trained with labels (supervised/...).
    """
    lengths = {name: value for name, value in (("epochs", epochs), ("steps", steps)) if value is not None}
    _require_length(protocol, lengths)
    opened = open_runs(runs)
    config = _protocol(protocol, layers, seeds, lengths)
    data = LabeledData(train, train_split, test, test_split, limit, data_root).load(next(iter(opened.values())))
    reports = {
        name: codial.probe(run, *data, config, progress=not quiet, device=device) for name, run in opened.items()
    }
    _print_reports(reports, str(data[0]), str(data[1]))


def _require_length(protocol: str, lengths: dict[str, int]) -> None:
    """Check that the length of the probes is given in the protocol's unit."""
    unit = "steps" if protocol == "zhang" else "epochs"
    for name in lengths:
        if name != unit:
            raise CodialError(f"--{name} does not fit --protocol {protocol}, whose length is --{unit}.")


def _protocol(name: str, layers: str, seeds: int, lengths: dict[str, int]) -> "Protocol":
    from codial.evaluate import PROTOCOLS

    settings: dict[str, Any] = {
        "layers": split_names(layers),
        "seeds": tuple(range(seeds)),
        **lengths,
    }
    return PROTOCOLS[name](**settings)


def _print_reports(reports: "dict[str, ProbeReport]", train: str, test: str) -> None:
    """Print a row of accuracies for each run, the images and the protocol."""
    layers = list(dict.fromkeys(layer for report in reports.values() for layer in report.accuracies))
    rows = [[name, *(_cell(report, layer) for layer in layers)] for name, report in reports.items()]
    report = list(reports.values())[-1]
    dims = ", ".join(f"{layer} {count:,}" for layer, count in report.dims.items())
    print(format_table([[f"{report.metric} in percent", *layers], *rows]))
    print(f"\nTrained on {train}, evaluated on {test}.\nProtocol: {report.protocol.describe(report.metric)}.")
    print(f"Dimensions: {dims}." if len(reports) == 1 else f"Dimensions, of the last run: {dims}.")


def _cell(report: "ProbeReport", layer: str) -> str:
    """Return the accuracy of a layer; empty if the run's backbone has no such layer."""
    return f"{report.mean(layer):.1f} ± {report.std(layer):.1f}" if layer in report.accuracies else ""
