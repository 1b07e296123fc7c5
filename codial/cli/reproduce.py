"""The command `codial reproduce`."""

import argparse
from pathlib import Path

from codial.cli.sweep import told
from codial.reproduce import BUDGETS, study
from codial.sweep import sweep

ABOUT = """\
Make the study of CIFAR-10. Train CODIAL, its parts and its rivals, the runs
that matter most first, probe all layers, search neighbours, and publish each
run's settings, history and reports. `short` and `small` are for a CPU (minutes
a run), `brief` (20 epochs) and `full` (200) for a GPU. What is done is skipped,
so the same command goes on after whatever stopped it; with --minutes it saves
and stops by itself, for machines that are at hand for a short while."""
EXAMPLES = """\
  codial reproduce cifar10
  codial reproduce cifar10 --budget short
  codial reproduce cifar10 --budget brief --minutes 9
  codial reproduce cifar10 --list"""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the command takes, and return the parser."""
    parser.add_argument("data", metavar="SET", help="cifar10")
    parser.add_argument("--budget", metavar="NAME", default="small", help=f"{', '.join(BUDGETS)} (default: small)")
    parser.add_argument("--minutes", metavar="N", type=float, help="save and stop after so many (default: no end)")
    parser.add_argument("--list", action="store_true", help="print the runs, and make none")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help="of the runs (default: runs)")
    publish = "of what is published of them (default: results)"
    parser.add_argument("--publish", metavar="DIR", type=Path, default=Path("results"), help=publish)
    return parser


def run(given: argparse.Namespace) -> int | None:
    """Make the study, or go on with it; the exit code is 130 when it was stopped, 2 after a failure."""
    planned = study(given.data, given.budget, given.out)
    if given.list:
        print("\n".join(f"{each}: {each.folder}" for each in planned))
        return None
    options = {"root": given.data_root, "minutes": given.minutes, "progress": not given.quiet}
    return told(sweep(planned, probe=True, publish_to=given.publish, **options), len(planned))
