"""`codial transfer`: what runs are worth on PASCAL VOC, the paper's Table 3 beside them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from codial import paper
from codial.comparison import by_name
from codial.data import data_root, voc
from codial.errors import CodialError
from codial.evaluate.transfer import DetectionConfig, SegmentationConfig, TransferReport, classify, detect, segment
from codial.runs import Run, open_run
from codial.tables import laid_out

ABOUT = """\
Measure what runs are worth on PASCAL VOC. `classification`: logistic
regressions on frozen conv5, VOC2007, learnt from trainval and judged on test.
`detection`: Fast R-CNN over the trunk, fine-tuned, on the same pictures; its
proposals, about a second a picture, are kept in a folder beside the run.
`segmentation`: a fully convolutional network over the trunk, fine-tuned, VOC2012,
learnt from train and judged on val. By default both are fine-tuned at the
paper's length, which takes a GPU and a day. Each run's report is kept in its
`evaluations` folder. The sets lie as VOCdevkit/VOC2007 and VOCdevkit/VOC2012
below the data root."""
EXAMPLES = """\
  codial transfer classification runs/photos/codial runs/photos/random
  codial transfer detection runs/mine --steps 800 --lr 0.01 --scale 160
  codial transfer segmentation runs/mine --steps 200 --lr 0.01 --crop 160"""


def _classification(run: Run, root: Path, changes: dict[str, Any], options: dict[str, Any]) -> TransferReport:
    train, val, test = (voc.read(root, split, size=run.config.views.size) for split in ("train", "val", "test"))
    return classify(run, train, val, test, **options).report


def _detection(run: Run, root: Path, changes: dict[str, Any], options: dict[str, Any]) -> TransferReport:
    train, val, test = (voc.annotated(root, split) for split in ("train", "val", "test"))
    return detect(run, [*train, *val], test, DetectionConfig(**changes), **options).report


def _segmentation(run: Run, root: Path, changes: dict[str, Any], options: dict[str, Any]) -> TransferReport:
    train, val = (voc.segmented(root, split) for split in ("train", "val"))
    return segment(run, train, val, SegmentationConfig(**changes), **options).report


class _Task(NamedTuple):
    """How a task is measured: of a run, the data root, changed settings, and progress and device."""

    measure: Callable[[Run, Path, dict[str, Any], dict[str, Any]], TransferReport]
    column: str  # of the paper's Table 3
    settings: tuple[str, ...]  # that it takes


TASKS = {
    "classification": _Task(_classification, "voc2007 classification", ()),
    "detection": _Task(_detection, "voc2007 detection", ("steps", "seed", "lr", "scales", "scale")),
    "segmentation": _Task(_segmentation, "voc2012 segmentation", ("steps", "seed", "batch", "lr", "crop", "zoom")),
}


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_METAVARS = {int: "N", float: "X", _whole_numbers: "N,N"}
_SETTINGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "steps": (int, "of fine-tuning"),
    "seed": (int, "of order, crops and boxes"),
    "batch": (int, "pictures a step"),
    "lr": (float, "the first learning rate; short runs need a higher one"),
    "crop": (int, "pixels a side of what segmentation learns from"),
    "scales": (_whole_numbers, "shorter sides in pixels that detection learns from"),
    "scale": (int, "the shorter side that detection is judged at"),
    "zoom": (float, "times the pictures' size, less for trunks trained at 64 pixels"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after `codial transfer`, but for the data root, the device and --quiet."""
    parser.add_argument("task", metavar="TASK", choices=tuple(TASKS), help=", ".join(TASKS))
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    for name, (kind, text) in _SETTINGS.items():
        parser.add_argument(f"--{name}", metavar=_METAVARS[kind], type=kind, help=text)


def run(given: argparse.Namespace) -> None:
    """Measure one task of each run, and print the numbers with the paper's beside them."""
    task = TASKS[given.task]
    changes = {name: getattr(given, name) for name in _SETTINGS if getattr(given, name) is not None}
    if other := sorted(set(changes) - set(task.settings)):
        takes = ", ".join(f"--{name}" for name in task.settings) or "none of them"
        raise CodialError(f"{given.task} takes no --{other[0]}; of the tasks' settings it takes {takes}.")
    runs = by_name(open_run(folder) for folder in given.runs)
    options = {"progress": not given.quiet, "device": given.device}
    root, rows, reports = data_root(given.data_root), [], []
    for name, each in runs.items():
        reports.append(task.measure(each, root, changes, options))
        printed = paper.transferred(each.config.name.split("/")[0], task.column)
        rows.append([name, f"{reports[-1].value:.1f}", "-" if printed is None else f"{printed:.1f}"])
    last = reports[-1]
    print(laid_out([["run", f"{last.metric} in percent", "the paper's (Table 3)"], *rows]))
    print(f"\nLearnt from {last.train}, judged on {last.test}.")
    for protocol in dict.fromkeys(report.protocol for report in reports):  # they may differ in a setting chosen on val
        of = [name for name, report in zip(runs, reports, strict=True) if report.protocol == protocol]
        print(fill(f"Protocol of {', '.join(of)}: {protocol}.", 100))
