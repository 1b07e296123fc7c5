"""The command `codial transfer`."""

from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from codial.cli.inputs import open_runs
from codial.cli.options import DataRoot, Device, Quiet, Runs
from codial.errors import CodialError
from codial.utils.text_table import format_table

if TYPE_CHECKING:
    from codial.evaluate.transfer import TransferReport
    from codial.runs.run import Run

EXAMPLES = """\
  codial transfer classification runs/photos/codial runs/photos/random
  codial transfer detection runs/mine --steps 800 --lr 0.01 --scale 160
  codial transfer segmentation runs/mine --steps 200 --lr 0.01 --crop 160"""

TaskName = Literal["classification", "detection", "segmentation"]


def transfer(
    task: Annotated[TaskName, typer.Argument(metavar="TASK", help="What to evaluate.")],
    runs: Runs,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Steps of fine-tuning.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="Seed of order, crops and boxes.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="N", help="Images per step.")] = None,
    lr: Annotated[
        float | None, typer.Option(min=0, metavar="X", help="Initial learning rate; short runs need a higher one.")
    ] = None,
    crop: Annotated[int | None, typer.Option(min=1, metavar="N", help="Training crop of segmentation, pixels.")] = None,
    scales: Annotated[
        str | None, typer.Option(metavar="N,N", help="Shorter sides of training images of detection, pixels.")
    ] = None,
    scale: Annotated[int | None, typer.Option(min=1, metavar="N", help="The same of its test images.")] = None,
    zoom: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Scale of all images; below 1 for backbones trained at 64 pixels."),
    ] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Evaluate runs on PASCAL VOC.

    The numbers of the paper's Table 3 are printed beside them.

    classification: logistic regression on the frozen last maps, trained on VOC2007 trainval, evaluated on test.

    detection: Fast R-CNN on the backbone, fine-tuned on the same images. Its proposals take about a second per image
    and are kept in a folder beside the run.

    segmentation: a fully convolutional network on the backbone, fine-tuned on VOC2012 train, evaluated on val.

    By default detection and segmentation are fine-tuned at the paper's length, about a day on a GPU. The report of each
    run is saved in its `evaluations` folder. The data sets are VOCdevkit/VOC2007 and VOCdevkit/VOC2012 below the data
    root.
    """
    numbers = {"steps": steps, "seed": seed, "batch": batch, "lr": lr, "crop": crop, "scale": scale, "zoom": zoom}
    settings: dict[str, Any] = {**numbers, "scales": None if scales is None else _parse_scales(scales)}
    changes = {name: value for name, value in settings.items() if value is not None}
    _require_settings(task, changes)
    opened = open_runs(runs)
    from codial.data import data_root as folder_of_sets

    root = folder_of_sets(data_root)
    options = {"progress": not quiet, "device": device}
    reports = {name: TASKS[task].measure(run, root, changes, options) for name, run in opened.items()}
    _print(task, opened, reports)


def _parse_scales(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise CodialError(f"--scales is {text!r}; expected integers separated by commas, such as 480,600.") from None


def _require_settings(task: str, changes: dict[str, Any]) -> None:
    """Check that a task has all the settings that were given."""
    valid = TASKS[task].settings
    for name in changes:
        if name not in valid:
            names = ", ".join(f"--{each}" for each in valid) or "none of them"
            raise CodialError(f"{task} has no --{name}; of the tasks' settings it has {names}.")


def _print(task: str, runs: "dict[str, Run]", reports: "dict[str, TransferReport]") -> None:
    """Print the result of each run with the paper's, the images and the protocols."""
    from codial.results import paper

    rows = []
    for name, run in runs.items():
        printed = paper.printed_transfer(run.config.name.split("/")[0], TASKS[task].column)
        rows.append([name, f"{reports[name].value:.1f}", "-" if printed is None else f"{printed:.1f}"])
    last = list(reports.values())[-1]
    print(format_table([["run", f"{last.metric} in percent", "paper (Table 3)"], *rows]))
    print(f"\nTrained on {last.train}, evaluated on {last.test}.")
    for protocol in dict.fromkeys(report.protocol for report in reports.values()):  # val may select other settings
        names = [name for name, report in reports.items() if report.protocol == protocol]
        print(fill(f"Protocol of {', '.join(names)}: {protocol}.", 100))


def _classification(run: "Run", root: Path, changes: dict[str, Any], options: dict[str, Any]) -> "TransferReport":
    from codial.data.datasets import voc
    from codial.evaluate.transfer import classify

    train, val, test = (voc.read(root, split, size=run.config.views.size) for split in ("train", "val", "test"))
    return classify(run, train, val, test, **options).report


def _detection(run: "Run", root: Path, changes: dict[str, Any], options: dict[str, Any]) -> "TransferReport":
    from codial.data.datasets import voc
    from codial.evaluate.transfer import DetectionConfig, detect

    train, val, test = (voc.read_annotations(root, split) for split in ("train", "val", "test"))
    return detect(run, [*train, *val], test, DetectionConfig(**changes), **options).report


def _segmentation(run: "Run", root: Path, changes: dict[str, Any], options: dict[str, Any]) -> "TransferReport":
    from codial.data.datasets import voc
    from codial.evaluate.transfer import SegmentationConfig, segment

    train, val = (voc.list_segmented(root, split) for split in ("train", "val"))
    return segment(run, train, val, SegmentationConfig(**changes), **options).report


class _Task(NamedTuple):
    """How a task is measured: of a run, with the data root, changed settings, and options of progress and device."""

    measure: "Callable[[Run, Path, dict[str, Any], dict[str, Any]], TransferReport]"
    column: str  # of the paper's Table 3
    settings: tuple[str, ...]  # that can be changed


TASKS = {
    "classification": _Task(_classification, "voc2007 classification", ()),
    "detection": _Task(_detection, "voc2007 detection", ("steps", "seed", "lr", "scales", "scale")),
    "segmentation": _Task(_segmentation, "voc2012 segmentation", ("steps", "seed", "batch", "lr", "crop", "zoom")),
}
