"""The command `codial sweep`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from codial.errors import CodialError
from codial.sweep import SWEEPS, Swept, plan, sweep

ABOUT = """\
Train many configurations one after another. Name presets, patterns of presets,
or what a table or a figure of the paper compares. Finished runs are skipped
and begun ones go on, so the same command goes on after whatever stopped it. A
configuration that fails stops no other; the exit code is then 2."""
EXAMPLES = """\
  codial sweep figure3/photos --probe
  codial sweep table2/cifar10 --seeds 3 --probe
  codial sweep codial-pairs*/photos --set train.epochs=2 --out short"""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the command takes, and return the parser."""
    known = f"a preset, a pattern in quotes, or {', '.join(SWEEPS)} with a scale, such as table2/photos"
    parser.add_argument("names", metavar="NAME", nargs="+", help=known)
    parser.add_argument("--seeds", metavar="N", type=int, default=1, help="of each, from 0 (default: %(default)s)")
    out = "runs lie in DIR/SCALE/SYSTEM, other seeds' in DIR/SCALE-seedN/SYSTEM (default: runs)"
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs"), help=out)
    parser.add_argument("--probe", action="store_true", help="measure all that lacks a report, as compare does")
    parser.add_argument("--minutes", metavar="N", type=float, help="save and stop after so many (default: no end)")
    change = "change a setting of every configuration; repeatable"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=change)
    return parser


def run(given: argparse.Namespace) -> int | None:
    """Sweep, and say what failed and what is left; the exit code is 130 when it was stopped, 2 after a failure."""
    changes = settings(given.set)
    if given.device != "auto":
        changes["train.device"] = given.device
    planned = plan(given.names, given.seeds, given.out, changes)
    options = {"root": given.data_root, "minutes": given.minutes, "progress": not given.quiet}
    return told(sweep(planned, probe=given.probe, **options), len(planned))


def told(found: Swept, planned: int) -> int | None:
    """Print what became of a sweep, and return the exit code."""
    print(f"{len(found.done)} of {planned} done.")
    for each, reason in found.failed:
        print(f"Failed: {each}, {each.folder}: {reason}")
    if found.interrupted:
        print(f"Left: {'; '.join(map(str, found.left))}. The same command goes on from here.")
        return 130
    return 2 if found.failed else None


def settings(changes: Sequence[str]) -> dict[str, str]:
    """Read the values of --set.

    Raises:
        CodialError: one is not KEY=VALUE.
    """
    for change in changes:
        if "=" not in change:
            raise CodialError(f"--set got {change!r}; expected KEY=VALUE, such as train.epochs=5.")
    return dict(change.split("=", 1) for change in changes)
