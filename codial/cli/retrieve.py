"""The command `codial retrieve`."""

from pathlib import Path
from typing import Annotated

import typer

import codial
from codial.cli.inputs import LabeledData, open_runs
from codial.cli.options import DataRoot, Device, Layer, Limit, Quiet, Runs, Test, TestSplit, Train, TrainSplit
from codial.cli.output import plotting, require_writable, write_file
from codial.utils.text_table import format_table

EXAMPLES = """\
  codial retrieve runs/photos/codial
  codial retrieve runs/photos/random runs/photos/codial --out neighbors.png
  codial retrieve runs/photos/codial --layer conv5 --k 20"""


def retrieve(
    runs: Runs,
    train: Train = None,
    train_split: TrainSplit = "train",
    test: Test = None,
    test_split: TestSplit = "test",
    limit: Limit = None,
    k: Annotated[int, typer.Option(min=1, metavar="N", help="Number of neighbors per query.")] = 7,
    layer: Layer = "",
    images: Annotated[int, typer.Option(min=1, metavar="N", help="Number of queries in the figure.")] = 8,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed that samples the queries in the figure.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="The figure.", show_default="in the first run's evaluations folder"),
    ] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find the nearest training images of test images.

    The similarity is the cosine. Precision at k is the fraction of the k neighbors that have the query's label. The
    figure shows some queries with their neighbors, as in the paper's Figure 4, and marks each neighbor with a tick or a
    cross.
    """
    if out is not None:
        require_writable(out, (".png",))
    opened = open_runs(runs)
    first = next(iter(opened.values()))
    gallery, queries = LabeledData(train, train_split, test, test_split, limit, data_root).load(first)
    results = {
        name: codial.retrieve(run, gallery, queries, k, layer, progress=not quiet, device=device)
        for name, run in opened.items()
    }
    rows = [[name, f"{result.precision:.1f} %"] for name, result in results.items()]
    layers = " or ".join(dict.fromkeys(result.layer for result in results.values()))
    print(format_table([["run", f"precision at {k}"], *rows]))
    print(f"\nGallery: {gallery}, queries: {queries}; cosine similarity of {layers}.")
    with plotting():
        from codial.plots.retrieval import neighbor_rows
        from codial.plots.style import png
    from codial.data.base import stratified_indices

    figure = neighbor_rows(queries, gallery, results, stratified_indices(queries.labels, images, seed).tolist())
    write_file(out or first.folder / "evaluations" / f"neighbors-{queries.name}.png", png(figure))
