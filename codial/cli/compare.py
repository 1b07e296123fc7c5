"""The command `codial compare`."""

from typing import Annotated

import typer

import codial
from codial.cli.inputs import LabeledData, open_runs
from codial.cli.options import (
    PROBE_EPOCHS,
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

EXAMPLES = """\
  codial compare runs/photos/*
  codial compare results/cifar10*/*
  codial compare runs/cifar10/* --epochs 50 --seeds 5"""


def compare(
    runs: Runs,
    train: Train = None,
    train_split: TrainSplit = "train",
    test: Test = None,
    test_split: TestSplit = "test",
    limit: Limit = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Epochs of the classifiers.")] = PROBE_EPOCHS,
    seeds: ProbeSeeds = 3,
    again: Annotated[bool, typer.Option("--again", help="Measure again what the run folders hold.")] = False,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compare methods by linear probes and retrieval.

    All layers are probed under one protocol, and precision is at 7 neighbors. Runs that differ only in their seeds are
    one row, with mean and standard deviation. The paper's numbers are below each method. Reports that a run folder
    holds are used, so published results work as well.
    """
    opened = list(open_runs(runs).values())
    data = LabeledData(train, train_split, test, test_split, limit, data_root)
    from codial.results.comparison import compare

    comparison = compare(
        opened,
        lambda: data.load(opened[0]),
        codial.ProbeConfig(epochs=epochs, seeds=tuple(range(seeds))),
        source=train,
        again=again or limit is not None,  # reports do not say which images a limit selected
        progress=not quiet,
        device=device,
    )
    print(comparison)
