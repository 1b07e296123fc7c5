"""`codial transfer`, called as users call it, on a set of coloured squares in VOC's layout."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from codial import paper
from codial.cli import main
from codial.cli.transfer import TASKS
from codial.data import voc
from codial.presets import PRESETS

SPLITS = {"train": range(0, 8), "val": range(8, 14), "test": range(14, 22)}
FAST = ["--steps", "2", "--batch", "2", "--crop", "32", "--lr", "0.01"]
DETECTION = ["--steps", "2", "--lr", "0.01", "--scales", "40,48", "--scale", "40", "--seed", "3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """VOC2007 and VOC2012 of pictures that show a cat, which is red, or a dog, which is blue, or both."""
    root = tmp_path_factory.mktemp("sets")
    generator = np.random.default_rng(2)
    for year in voc.YEARS:
        folder = root / "VOCdevkit" / f"VOC{year}"
        for name in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation", "SegmentationClass"):
            (folder / name).mkdir(parents=True)
        for split, numbers in SPLITS.items():
            for task in ("Main", "Segmentation"):
                (folder / "ImageSets" / task / f"{split}.txt").write_text("".join(f"{n:06d}\n" for n in numbers))
            for number in numbers:
                write_picture(folder, f"{number:06d}", [("cat",), ("dog",), ("cat", "dog")][number % 3], generator)
    return root


def write_picture(folder, name, kinds, generator):
    picture = generator.integers(90, 110, (40, 48, 3), dtype=np.uint8)
    mask, objects = np.zeros((40, 48), np.uint8), ""
    for kind in kinds:
        top, left = generator.integers(0, 20), generator.integers(0, 28)
        place = slice(top, top + 20), slice(left, left + 20)
        mask[place], picture[place] = voc.CLASSES.index(kind) + 1, (230, 20, 20) if kind == "cat" else (20, 20, 230)
        box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{left + 20}</xmax><ymax>{top + 20}</ymax>"
        objects += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
    Image.fromarray(picture).save(folder / "JPEGImages" / f"{name}.jpg")
    Image.fromarray(mask).save(folder / "SegmentationClass" / f"{name}.png")
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy, so that its reports can be written."""
    return shutil.copytree(tiny_run.folder, tmp_path / "run")


@pytest.mark.parametrize(
    ("task", "settings", "report", "metric"),
    [
        ("classification", [], "transfer-voc2007-classification", "mAP"),
        ("detection", DETECTION, "transfer-voc2007-detection", "mAP"),
        ("segmentation", [*FAST, "--seed", "3"], "transfer-voc2012-segmentation", "mIoU"),
    ],
)
def test_it_prints_and_writes_what_it_measured(root, run, capsys, task, settings, report, metric):
    call = ["transfer", task, str(run), "--data-root", str(root), "--quiet", "--device", "cpu"]
    assert main([*call, *settings]) == 0
    shown = capsys.readouterr().out
    written = json.loads((run / "evaluations" / f"{report}.json").read_text())
    assert shown.startswith(f"run   {metric} in percent  the paper's (Table 3)\n")
    assert f"\ntiny  {written['value']:.1f}" in shown
    assert f"Learnt from {written['train']}, judged on {written['test']}." in shown
    assert "Protocol of tiny: " in shown
    assert written["metric"] == metric
    assert written["seed"] == (3 if settings else 0)
    assert written["classes"]["cat"] is not None


def test_the_papers_numbers_stand_beside_ours():
    assert paper.transferred("codial", TASKS["classification"].column) == 75.2
    assert paper.transferred("random", TASKS["segmentation"].column) == 19.8
    assert paper.transferred("supervised", "voc2007 detection") == 59.1
    assert paper.transferred("codial-cls", "voc2007 detection") is None
    assert paper.transferred("mine", "voc2007 detection") is None
    systems = {name.split("/")[0] for name in PRESETS}
    assert sum(paper.transferred(system, "voc2012 segmentation") is not None for system in systems) == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classification", "--steps", "5"], "classification takes no --steps; of the tasks' settings it takes none"),
        (["segmentation", "--crop", "33"], "crop is 33; expected a multiple of 32"),
        (["segmentation", "--data-root", "nowhere"], "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt does not"),
    ],
)
def test_mistakes(root, run, capsys, arguments, said):
    task, *rest = arguments
    assert main(["transfer", task, str(run), "--data-root", str(root), *rest]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
