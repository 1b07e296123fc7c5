"""The command `codial table`."""

import argparse
from pathlib import Path

from codial import open_run, paper
from codial.papertables import paper_table

ABOUT = """\
Print one of the paper's tables with the numbers of your runs beneath the
paper's. A difference is printed only where data and scale are the paper's;
elsewhere stands why the numbers are not comparable, and for what was not
measured, the command that does. Likely misprints of the paper have a star.
Without runs it is the paper's own table. Nothing is measured."""
EXAMPLES = """\
  codial table 2
  codial table 1 results/cifar10*/*
  codial table 2 runs/photos/codial runs/photos/codial-cls"""


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what the command takes, and return the parser."""
    parser.add_argument("number", metavar="N", type=int, choices=tuple(paper.TABLES), help="1, 2 or 3")
    parser.add_argument("runs", metavar="RUN", nargs="*", type=Path, help="folders of runs, published ones too")
    return parser


def run(given: argparse.Namespace) -> None:
    """Print the table."""
    print(paper_table(given.number, [open_run(folder) for folder in given.runs]))
