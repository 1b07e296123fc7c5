"""The command `codial figure`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import codial
from codial import open_run, preset
from codial.cli.drawing import drawing, write
from codial.comparison import by_name
from codial.data.pictures import choose
from codial.errors import CodialError
from codial.evaluate import looks
from codial.evaluate.features import trunk_of
from codial.reports import by_pairs, pairs_note
from codial.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = """\
Draw one of the paper's figures from runs. 2: a picture's way through CODIAL,
with real views; a run, if given, says how they are drawn. 3: accuracy of each
layer against the number of aligned pairs, from the reports of runs of codial
(10 pairs) and codial-pairsN, seeds as a band. 4: queries and their nearest
neighbours, a block for each run; the paper's are supervised, globstat, codial."""
EXAMPLES = """\
  codial figure 2 --seed 2 --out pipeline.pdf
  codial figure 3 runs/photos*/codial* --out pairs.png
  codial figure 4 runs/photos/random runs/photos/codial --out rows.png"""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the command takes, and return the parser."""
    parser.add_argument("number", metavar="N", type=int, choices=tuple(_FIGURES), help="2, 3 or 4")
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help="folders of runs")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help=".png or .pdf")
    parser.add_argument("--data", metavar="SET", help="pictures to show or judged on (default: the first run's own)")
    parser.add_argument("--limit", metavar="N", type=int, help="at most so many pictures of each split")
    parser.add_argument("--rows", metavar="N", type=int, default=7, help="queries of figure 4 (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of what is chosen (default: %(default)s)")
    return parser


def run(given: argparse.Namespace) -> None:
    """Draw the figure and write it."""
    if given.out.suffix not in (".png", ".pdf"):
        raise CodialError(f"--out is {str(given.out)!r}; expected a file that ends in .png or .pdf.")
    with drawing():
        from codial.plots.saving import FORMATS
    figure = _FIGURES[given.number]([open_run(folder) for folder in given.runs], given)
    write(given.out, FORMATS[given.out.suffix](figure))


def _pipeline(runs: list[Run], given: argparse.Namespace) -> "Figure":
    from codial.plots.pipeline import pipeline

    config = runs[0].config if runs else preset("codial/photos")
    if config.objective.system != "codial":
        raise CodialError(f"Figure 2 is about CODIAL; {runs[0].folder} is a run of {config.objective.system}.")
    images = codial.load_images(given.data or config.data.source, "test", root=given.data_root, limit=given.limit)
    place = choose(images.labels, 1, given.seed).tolist()
    shown = {name: views[0] for name, views in looks(config, images, place, given.seed).items() if name != "picture"}
    return pipeline(images.batch(place)[0], shown)


def _pairs(runs: list[Run], given: argparse.Namespace) -> "Figure":
    from codial.plots.pairs import pair_curves

    source = Path(given.data or (runs[0].config.data.source if runs else "photos")).name
    return pair_curves(by_pairs(runs, source), f"probes on {source}", pairs_note(runs, source))


def _neighbours(runs: list[Run], given: argparse.Namespace) -> "Figure":
    from codial.plots.neighbours import neighbour_rows

    if not runs:
        raise CodialError("Figure 4 needs runs with their weights; `codial sweep figure4/photos` makes the paper's.")
    source, options = given.data or runs[0].config.data.source, {"root": given.data_root, "limit": given.limit}
    gallery, queries = (codial.load_images(source, split, **options) for split in ("train", "test"))
    found = {
        name: codial.retrieve(trunk_of(run, given.device), gallery, queries, progress=not given.quiet)  # no report
        for name, run in by_name(runs).items()
    }
    return neighbour_rows(queries, gallery, found, choose(queries.labels, given.rows, given.seed).tolist())


_FIGURES: dict[int, Callable[[list[Run], argparse.Namespace], "Figure"]] = {2: _pipeline, 3: _pairs, 4: _neighbours}
