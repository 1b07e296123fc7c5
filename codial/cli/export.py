"""The command `codial export`."""

import argparse
from pathlib import Path

from codial import open_run
from codial.export import export
from codial.results import WEIGHTS

ABOUT = f"""\
Write the convolutions of a finished run, conv1 to conv5 at half precision, into
a folder with its settings, origin, reports and a model card: small enough to
hand on. Whoever has the folder opens it as a run; notebooks open those in
{WEIGHTS} by their names alone. Probe and search the run before, so that
the card has its numbers."""
EXAMPLES = """\
  codial export runs/cifar10/codial
  codial export runs/mine --name my-birds --out ~/shared"""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the command takes, and return the parser."""
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    parser.add_argument("--name", help="of the new folder (default: SYSTEM-SCALE, as the run's folders are named)")
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"where it goes (default: the project's {WEIGHTS})")
    return parser


def run(given: argparse.Namespace) -> None:
    """Export the run, and say where."""
    folder = export(open_run(given.run), given.out and given.out.expanduser(), given.name)
    size = (folder / "checkpoints/last.safetensors").stat().st_size
    print(f"{folder}: conv1 to conv5, {size / 1e6:.1f} MB, and README.md, the card")
