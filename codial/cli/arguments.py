"""What can be typed after `codial`, and the help that explains it."""

import argparse
from pathlib import Path
from typing import Any

import codial
from codial.cli import export, figure, reproduce, shortcuts, sweep, table, transfer
from codial.data import SETS
from codial.evaluate import PROTOCOLS, ProbeConfig
from codial.models import CONV_TAPS, TAPS

_ABOUT = """\
Self-supervised learning by concurrent discrimination and alignment (CODIAL).

A run is a folder: settings, history, checkpoints and where they come from.
`pretrain` makes one from pictures, without looking at labels; `probe`,
`retrieve`, `compare` and `embed` measure what its features are worth."""
_START = """\
to begin with, on the photographs that come with the package:
  codial pretrain codial/photos        about a minute on two CPU cores
  codial pretrain random/photos        the same network untrained, to compare with
  codial probe runs/photos/codial runs/photos/random

`codial COMMAND --help` explains each command and gives examples."""

_PRETRAIN = """\
Train a network without labels. The run's folder is written as training goes
on. Ctrl-C ends the step under way and saves; the same command goes on from
there, and returns at once when the run is finished. Presets are named
SYSTEM/SCALE: codial, its ablations such as codial-cls (see --list), rotnet,
decouple, globstat, deepcluster, knowtrans, spotartifacts, cmc, supervised or
random (untrained) at photos, short or cifar10 (a laptop), brief, recommended or
paper (a GPU)."""
_PRETRAIN_EXAMPLES = """\
  codial pretrain --list                  the presets
  codial pretrain codial/photos --show    every setting that --set can change
  codial pretrain codial/photos --set train.epochs=2 --out runs/quick
  codial pretrain runs/quick/config.json --set seed=1 --out runs/quick-1
  codial pretrain codial/cifar10 --set data.source=~/pictures --out runs/mine"""

_PROBE = """\
Measure how well a linear classifier reads the labels off each frozen layer.
The classifiers learn on the training split and are judged on the test split,
by top-1 accuracy or, where pictures have several tags each, by mean average
precision; the spread is over their own seeds. Two older protocols learn from
random crops, not from features computed once: zhang (Zhang et al. 2016) and
globstat (GlobStat's for STL-10); whole, they are work for a GPU. Each run's report is kept in its
`evaluations` folder. Compare with an untrained network (random/...) and with
one trained on the labels (supervised/...)."""
_PROBE_EXAMPLES = """\
  codial probe runs/photos/codial runs/photos/random
  codial probe runs/cifar10/codial --limit 2000 --epochs 10
  codial probe runs/mine --train ~/labelled-pictures --layers conv4,conv5
  codial probe runs/cifar10/codial --protocol zhang --steps 500
  codial probe runs/cifar10/codial --protocol globstat --epochs 20 --seeds 1"""

_RETRIEVE = """\
Find each test picture's nearest training pictures by cosine similarity.
Precision at k is the part of the k neighbours that have the query's label. The
picture, like the paper's Figure 4, shows some queries and marks each neighbour
with a tick or a cross."""
_RETRIEVE_EXAMPLES = """\
  codial retrieve runs/photos/codial
  codial retrieve runs/photos/random runs/photos/codial --out neighbours.png
  codial retrieve runs/photos/codial --layer conv5 --k 20"""

_COMPARE = """\
Put systems side by side: linear probes of all layers and precision at 7 under
one protocol, runs of one system with different seeds as mean and spread, and
the paper's numbers beneath each. What a run's folder holds already is not
measured again; published results will do, for they hold the reports."""
_COMPARE_EXAMPLES = """\
  codial compare runs/photos/*
  codial compare results/cifar10*/*
  codial compare runs/cifar10/* --epochs 50 --seeds 5"""

_EMBED = """\
Write a layer's features, or a map of them. The file's ending decides:
.safetensors and .npz hold the features [N, F] with labels and class names;
.png is a UMAP, coloured by class. A map keeps neighbourhoods, but neither
distances between clusters nor their sizes."""
_EMBED_EXAMPLES = """\
  codial embed runs/photos/codial --layer fc7 --out features.safetensors
  codial embed runs/photos/codial --layer conv5 --split train --out train.npz
  codial embed runs/photos/codial --out map.png"""

_DATA = """\
List, get or check sets of pictures. `list` says for each named set whether it
is there; `get` downloads a public one, or says where the others are given out.
Stopped by Ctrl-C, it goes on from there when called again. `check` reads every
split of a set, or a folder of your own, whole: how many pictures and classes,
and which files are missing or broken; it ends with exit code 2 if some are. A
folder may have a sub-folder a class, and train/ and test/ above them."""
_DATA_EXAMPLES = """\
  codial data list
  codial data get stl10 --data-root /scratch/data
  codial data check voc2007
  codial data check ~/pictures"""

_RUNS = """\
List the runs below a folder. For each: how far it is, and the best accuracies
that its monitors saw on held-out training pictures (nearest neighbours on fc7,
a quick probe on conv5)."""
_RUNS_EXAMPLES = """\
  codial runs
  codial runs runs/photos"""

_PUBLISH = """\
Copy what can be committed of finished runs: settings, history, origin and the
reports of probes and retrieval, without weights. runs/photos/codial goes to
results/photos/codial; an older copy's reports are replaced."""
_PUBLISH_EXAMPLES = """\
  codial publish runs/photos/*"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of descriptions and examples."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `command` names the one that was given."""
    whole = argparse.ArgumentParser("codial", description=_ABOUT, epilog=_START, formatter_class=_Help)
    whole.add_argument("--version", action="version", version=f"codial {codial.__version__}")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    _pretrain(_add(commands, "pretrain", _PRETRAIN, _PRETRAIN_EXAMPLES))
    _probe(_add(commands, "probe", _PROBE, _PROBE_EXAMPLES))
    _retrieve(_add(commands, "retrieve", _RETRIEVE, _RETRIEVE_EXAMPLES))
    _compare(_add(commands, "compare", _COMPARE, _COMPARE_EXAMPLES))
    shortcuts.arguments(_add(commands, "shortcuts", shortcuts.ABOUT, shortcuts.EXAMPLES))
    export.arguments(_add(commands, "export", export.ABOUT, export.EXAMPLES))
    table.arguments(_add(commands, "table", table.ABOUT, table.EXAMPLES))
    _machine(figure.arguments(_add(commands, "figure", figure.ABOUT, figure.EXAMPLES)))
    _machine(sweep.arguments(_add(commands, "sweep", sweep.ABOUT, sweep.EXAMPLES)))
    _machine(reproduce.arguments(_add(commands, "reproduce", reproduce.ABOUT, reproduce.EXAMPLES)))
    _embed(_add(commands, "embed", _EMBED, _EMBED_EXAMPLES))
    _transfer(_add(commands, "transfer", transfer.ABOUT, transfer.EXAMPLES))
    _data(_add(commands, "data", _DATA, _DATA_EXAMPLES))
    runs = _add(commands, "runs", _RUNS, _RUNS_EXAMPLES)
    runs.add_argument("root", metavar="ROOT", nargs="?", type=Path, default=Path("runs"), help="default: runs")
    publish = _add(commands, "publish", _PUBLISH, _PUBLISH_EXAMPLES)
    publish.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    publish.add_argument("--out", metavar="DIR", type=Path, default=Path("results"), help="default: results")
    return whole


def _add(commands: Any, name: str, about: str, examples: str) -> argparse.ArgumentParser:
    """Add a command, whose first sentence stands in the list of commands."""
    first = " ".join(about.split()).split(". ")[0]
    text = {"description": about, "epilog": f"examples:\n{examples}"}
    return commands.add_parser(name, help=first[0].lower() + first[1:], formatter_class=_Help, **text)


def _pretrain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="PRESET|CONFIG.json", nargs="?", help="a preset's name, or a file of settings"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="the run's folder (default: runs/SCALE/SYSTEM)")
    change = "change a setting; repeatable, and strict: an unknown key is an error that lists the near ones"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=change)
    parser.add_argument("--list", action="store_true", help="print the presets, and train nothing")
    parser.add_argument("--show", action="store_true", help="print the settings, and train nothing")
    _machine(parser)


def _probe(parser: argparse.ArgumentParser) -> None:
    _runs_and_sets(parser)
    parser.add_argument("--layers", metavar="NAMES", default=",".join(CONV_TAPS), help="default: %(default)s")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="codial", help="default: %(default)s")
    lengths = "of the classifiers (default: codial 20, globstat 900)"
    parser.add_argument("--epochs", metavar="N", type=int, help=lengths)
    parser.add_argument("--steps", metavar="N", type=int, help="of the classifiers, for zhang (default: 140000)")
    _seeds(parser)
    _machine(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    _runs_and_sets(parser)
    _classifiers(parser)
    parser.add_argument("--again", action="store_true", help="measure even what the folders hold already")
    _machine(parser)


def _retrieve(parser: argparse.ArgumentParser) -> None:
    _runs_and_sets(parser)
    parser.add_argument("--k", metavar="N", type=int, default=7, help="neighbours a query (default: %(default)s)")
    _layer(parser)
    parser.add_argument("--pictures", metavar="N", type=int, default=8, help="queries to draw (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of their choice (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE.png", type=Path, help="default: in the first run's evaluations folder")
    _machine(parser)


def _embed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="the run's folder")
    _layer(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help=".safetensors, .npz or .png")
    parser.add_argument("--data", metavar="SET", help="a named set or a folder (default: the run's own)")
    parser.add_argument("--split", default="test", help="default: %(default)s")
    _limit(parser)
    _machine(parser)


def _transfer(parser: argparse.ArgumentParser) -> None:
    transfer.arguments(parser)
    _machine(parser)


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "get", "check"), default="list", help="default: list")
    parser.add_argument("name", metavar="NAME", nargs="?", help=f"{', '.join(SETS)}, or a folder of pictures")
    _root(parser)


def _runs_and_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--train", metavar="SET", help="labelled pictures to know (default: the first run's own set)")
    parser.add_argument("--train-split", metavar="SPLIT", default="train", help="default: %(default)s")
    parser.add_argument("--test", metavar="SET", help="labelled pictures to ask for (default: as --train)")
    parser.add_argument("--test-split", metavar="SPLIT", default="test", help="default: %(default)s")
    _limit(parser)


def _classifiers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs", metavar="N", type=int, default=ProbeConfig.epochs, help="of the classifiers (default: %(default)s)"
    )
    _seeds(parser)


def _seeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", metavar="N", type=int, default=3, help="of the classifiers (default: %(default)s)")


def _layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layer", metavar="NAME", default="fc7", help=f"{TAPS[0]} to {TAPS[4]}, fc6 or fc7 (default: %(default)s)"
    )


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", metavar="N", type=int, help="at most so many pictures of each set, by class share")


def _root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", metavar="DIR", help="where named sets lie (default: $CODIAL_DATA, then data/)")


def _machine(parser: argparse.ArgumentParser) -> None:
    _root(parser)
    parser.add_argument("--device", metavar="NAME", default="auto", help="cpu, cuda, cuda:1, ... (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
