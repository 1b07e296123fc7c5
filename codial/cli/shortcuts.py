"""The command `codial shortcuts`."""

import argparse
from pathlib import Path
from typing import Any

from codial.config import Config
from codial.data import load_images
from codial.information import TWO_LN2
from codial.presets import preset
from codial.reports import ending
from codial.results import SHORTCUTS, write_report
from codial.runs import Run, open_run
from codial.shortcuts import CUES, shortcuts
from codial.tables import laid_out

ABOUT = """\
Say how much of the bound that aligns views can be had without looking. Critics
that see only the mean colours, the tones or the coarse layout of each view are
trained to tell partners from strangers; a run whose bound is not above theirs
had no need to learn to see. Give runs, whose reports keep the numbers
(published ones, too, for no weights are needed), or presets."""
EXAMPLES = """\
  codial shortcuts codial/photos
  codial shortcuts runs/photos/codial
  codial shortcuts codial/cifar10 codial-hue50/cifar10"""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the command takes, and return the parser."""
    parser.add_argument("sources", metavar="RUN|PRESET", nargs="+", help="folders of runs, or names of presets")
    parser.add_argument("--pictures", metavar="N", type=int, default=6000, help="at most (default: %(default)s)")
    parser.add_argument("--steps", metavar="N", type=int, default=1500, help="of each critic (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all draws (default: %(default)s)")
    parser.add_argument("--data-root", metavar="DIR", help="where named sets lie (default: $CODIAL_DATA, then data/)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def run(given: argparse.Namespace) -> None:
    """Measure each kind of views once, keep the numbers with the runs, and print them."""
    rows: list[tuple[str, ...]] = [("nats", *CUES, "mi_js of the run")]
    known: dict[Any, dict[str, Any]] = {}
    for source in given.sources:
        opened = open_run(source) if Path(source, "config.json").is_file() else None
        config = preset(source) if opened is None else opened.config
        key = config.data, config.views, config.seed
        if key not in known:
            known[key] = _measured(config, given)
        if opened is not None:
            write_report(opened, f"{SHORTCUTS}-{config.data.source}", known[key])
        rows.append((config.name, *(f"{nats:.2f}" for nats in known[key]["nats"].values()), _reached(opened)))
    print(laid_out(rows))
    print(f"0 tells nothing, {TWO_LN2:.2f} all. Each is what a trained critic reached, the best one may reach more.")


def _measured(config: Config, given: argparse.Namespace) -> dict[str, Any]:
    data, settings = config.data, {"pictures": given.pictures, "steps": given.steps, "seed": given.seed}
    where = {"root": given.data_root, "size": data.size, "limit": data.limit, "seed": config.seed}
    images = load_images(data.source, data.split, **where)
    nats = shortcuts(images, config.views, progress=not given.quiet, **settings)
    return {"nats": nats, "images": images.describe(), **settings}


def _reached(run: Run | None) -> str:
    values = [] if run is None else ending(run, "mi_js")
    return f"{values[0]:.2f}" if values else "-"
