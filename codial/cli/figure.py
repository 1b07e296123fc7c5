"""The command `codial figure`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

import codial
from codial.cli.inputs import open_runs
from codial.cli.options import DataRoot, Device, Limit, OptionalRuns, Quiet
from codial.cli.output import plotting, require_writable, write_file
from codial.errors import CodialError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from codial.runs.run import Run

EXAMPLES = """\
  codial figure 2 --seed 2 --out pipeline.pdf
  codial figure 3 runs/photos*/codial* --out pairs.png
  codial figure 4 runs/photos/random runs/photos/codial --out rows.png"""


class _Settings(NamedTuple):
    data: str | None
    limit: int | None
    rows: int
    seed: int
    root: Path | None
    device: str
    progress: bool


def figure(
    number: Annotated[int, typer.Argument(min=2, max=4, metavar="N", help="Number of the paper's figure.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .png or .pdf.")],
    runs: OptionalRuns = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data set to show or evaluate on.", show_default="the first run's data set"),
    ] = None,
    limit: Limit = None,
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Number of queries in Figure 4.")] = 7,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed that samples images and views.")] = 0,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Draw one of the paper's figures from runs.

    Figure 2: an image's way through CODIAL, with real views, under the config of a run if one is given.

    Figure 3: accuracy of each layer against the number of aligned pairs, from the reports of runs of codial (10 pairs)
    and codial-pairsN, with a band over seeds.

    Figure 4: queries and their nearest neighbors, one block per run; the paper shows supervised, globstat and codial.
    """
    require_writable(out, (".png", ".pdf"))
    opened = open_runs(runs or ())
    with plotting():
        from codial.plots.save import FORMATS
    settings = _Settings(data, limit, rows, seed, data_root, device, not quiet)
    write_file(out, FORMATS[out.suffix](_FIGURES[number](opened, settings)))


def _pipeline(runs: "dict[str, Run]", settings: _Settings) -> "Figure":
    from codial.data.base import stratified_indices
    from codial.evaluate import method_inputs
    from codial.plots.pipeline import pipeline

    config = next(iter(runs.values())).config if runs else codial.preset("codial/photos")
    if config.method.name != "codial":
        raise CodialError(f"Figure 2 shows CODIAL; {next(iter(runs))} is a run of {config.method.name}.")
    source = settings.data or config.data.source
    images = codial.load_images(source, "test", root=settings.root, limit=settings.limit)
    index = stratified_indices(images.labels, 1, settings.seed).tolist()
    views = method_inputs(config, images, index, settings.seed)
    return pipeline(images.batch(index)[0], {name: view[0] for name, view in views.items() if name != "image"})


def _pairs(runs: "dict[str, Run]", settings: _Settings) -> "Figure":
    from codial.plots.pair_curves import pair_curves
    from codial.results.aggregate import accuracy_by_pairs, pairs_note

    opened = list(runs.values())
    source = codial.data.name_of(settings.data or (opened[0].config.data.source if opened else "photos"))
    return pair_curves(accuracy_by_pairs(opened, source), f"probes on {source}", pairs_note(opened, source))


def _neighbors(runs: "dict[str, Run]", settings: _Settings) -> "Figure":
    if not runs:
        raise CodialError("Figure 4 needs runs with weights; `codial sweep figure4/photos` trains the paper's.")
    from codial.evaluate.features import backbone_of
    from codial.evaluate.retrieval import queries_to_show
    from codial.plots.retrieval import neighbor_rows

    source = settings.data or next(iter(runs.values())).config.data.source
    gallery, queries = (
        codial.load_images(source, split, root=settings.root, limit=settings.limit) for split in ("train", "test")
    )
    results = {  # of backbones, so that no report is written
        name: codial.retrieve(backbone_of(run, settings.device), gallery, queries, progress=settings.progress)
        for name, run in runs.items()
    }
    return neighbor_rows(queries, gallery, results, queries_to_show(queries, settings.rows, settings.seed))


_FIGURES: "dict[int, Callable[[dict[str, Run], _Settings], Figure]]" = {2: _pipeline, 3: _pairs, 4: _neighbors}
