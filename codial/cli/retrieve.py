"""The command `codial retrieve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import codial
from codial.cli.inputs import LabeledData, default_split, open_runs
from codial.cli.options import DataRoot, Device, Layer, Limit, Quiet, Runs, Test, Train
from codial.cli.output import plotting, require_writable, write_file
from codial.errors import CodialError
from codial.utils.text_table import format_table

if TYPE_CHECKING:
    from codial.data import Dataset
    from codial.evaluate import RetrievalResult

EXAMPLES = """\
  codial retrieve runs/photos/codial
  codial retrieve runs/photos/random runs/photos/codial --out neighbors.png
  codial retrieve runs/photos/codial --layer conv5 --k 20"""

_ALL = "of a folder without splits all"
_TrainSplit = Annotated[
    str | None, typer.Option(metavar="SPLIT", help="Split of the training images.", show_default=f"train; {_ALL}")
]
_TestSplit = Annotated[
    str | None, typer.Option(metavar="SPLIT", help="Split of the test images.", show_default=f"test; {_ALL}")
]


def retrieve(
    runs: Runs,
    train: Train = None,
    train_split: _TrainSplit = None,
    test: Test = None,
    test_split: _TestSplit = None,
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
    cross. Images without labels have neither precision nor marks.

    A folder without sub-folders for splits is searched as a whole, and each image is left out of its own neighbors.
    """
    if out is not None:
        require_writable(out, (".png",))
    opened = open_runs(runs)
    first = next(iter(opened.values()))
    source = train or first.config.data.source
    train_split = train_split or default_split(source, "train")
    test_split = test_split or default_split(test or source, "test")
    gallery, queries = LabeledData(train, train_split, test, test_split, limit, data_root).load(first)
    k = _possible_k(k, gallery, queries)
    results = {
        name: codial.retrieve(run, gallery, queries, k, layer, progress=not quiet, device=device)
        for name, run in opened.items()
    }
    _print_precision(results, k)
    layers = " or ".join(dict.fromkeys(result.layer for result in results.values()))
    print(f"\nGallery: {gallery}, queries: {queries}; cosine similarity of {layers}.")
    for name, result in results.items():
        if result.collapse:
            print(f"{name} is {result.collapse}: all images have nearly the same features, neighbors are arbitrary.")
    with plotting():
        from codial.plots.retrieval import neighbor_rows
        from codial.plots.style import png
    from codial.evaluate.retrieval import queries_to_show

    figure = neighbor_rows(queries, gallery, results, queries_to_show(queries, images, seed))
    write_file(out or first.folder / "evaluations" / f"neighbors-{queries.name}.png", png(figure))


def _possible_k(k: int, gallery: "Dataset", queries: "Dataset") -> int:
    """Return k, or what the gallery has, with a message, if that is less.

    Raises:
        CodialError: a query has no other image to find.
    """
    from codial.evaluate.retrieval import max_k

    most = max_k(gallery, queries)
    if not most:
        raise CodialError(f"{gallery} has no other image to find; retrieval needs at least 2.")
    if k > most:
        print(f"A query has {most} neighbor{'s' * (most > 1)} here: k is {most} instead of {k}.")
    return min(k, most)


def _print_precision(results: "dict[str, RetrievalResult]", k: int) -> None:
    if not any(bool(result.labeled.any()) for result in results.values()):
        print("Precision needs labels, a sub-folder for each class; the figure shows the neighbors.")
        return
    rows = [[name, f"{result.precision:.1f} %"] for name, result in results.items()]
    print(format_table([["run", f"precision at {k}"], *rows]))
