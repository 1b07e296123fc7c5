"""The command `codial shortcuts`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import codial
from codial.cli.options import DataRoot, Quiet
from codial.config import Config
from codial.config.preset_names import split_preset
from codial.utils.text_table import format_table

if TYPE_CHECKING:
    from codial.runs.run import Run

EXAMPLES = """\
  codial shortcuts codial/photos
  codial shortcuts runs/photos/codial
  codial shortcuts codial/cifar10 codial-hue50/cifar10"""


def shortcuts(
    sources: Annotated[list[str], typer.Argument(metavar="RUN|PRESET", help="Run folders or names of presets.")],
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Use at most N images, sampled at random.")] = 6000,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Training steps of each critic.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of images, views and critics.")] = 0,
    data_root: DataRoot = None,
    quiet: Quiet = False,
) -> None:
    """Measure how well simple cues alone align views.

    Critics that see only the mean colors, the tones or the coarse layout of views are trained to tell positives from
    negatives, and reach a lower or higher bound on their mutual information. A run whose bound is not above theirs did
    not need to learn more than such cues. All are Jensen-Shannon bounds: runs with another method.bound have none.

    Reports are saved with the runs; published runs work as well, since no weights are needed.
    """
    for source in sources:
        if not _is_run(source):
            split_preset(source)  # before methods are imported
    settings: dict[str, Any] = {"limit": limit, "steps": steps, "seed": seed}
    reports: dict[Any, dict[str, Any]] = {}
    rows = []
    for source in sources:
        run = codial.open_run(source) if _is_run(source) else None
        config = codial.preset(source) if run is None else run.config
        key = config.data, config.views, config.seed
        if key not in reports:
            reports[key] = _measure(config, settings, data_root, not quiet)
        if run is not None:
            _save(run, reports[key])
        nats = reports[key]["nats"]
        rows.append([config.name, *(f"{value:.2f}" for value in nats.values()), _bound_of(run)])
    _print(rows, list(nats))


def _is_run(source: str) -> bool:
    return Path(source, "config.json").is_file()


def _measure(config: Config, settings: dict[str, Any], root: Path | None, progress: bool) -> dict[str, Any]:
    from codial.evaluate.shortcuts import shortcuts

    data = config.data
    images = codial.load_images(data.source, data.split, root=root, size=data.size, limit=data.limit, seed=config.seed)
    nats = shortcuts(images, config.views, progress=progress, **settings)
    return {"nats": nats, "images": images.describe(), **settings}


def _save(run: "Run", report: dict[str, Any]) -> None:
    from codial.runs.publish import SHORTCUTS
    from codial.runs.reports import write_report

    write_report(run, f"{SHORTCUTS}-{codial.data.name_of(run.config.data.source)}", report)


def _bound_of(run: "Run | None") -> str:
    """Return the Jensen-Shannon bound that a run reached at its end, "-" if it has another or none."""
    from codial.results.aggregate import final_value

    bound = None if run is None else final_value(run, "mi_js")
    return "-" if bound is None else f"{bound:.2f}"


def _print(rows: list[list[str]], cues: list[str]) -> None:
    from codial.losses.bounds import TWO_LN2

    print(format_table([["nats", *cues, "mi_js of the run"], *rows]))
    print(f"Between 0 (the cue gives nothing) and {TWO_LN2:.2f} (all). Better critics may reach more.")
