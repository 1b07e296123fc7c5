"""`codial transfer`, called as users call it, on a set of colored squares in VOC's layout."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from codial.cli.main import main
from codial.cli.transfer import TASKS
from codial.config.registry import method_names
from codial.data.datasets import voc
from codial.results import paper

SPLITS = {"train": range(0, 8), "val": range(8, 14), "test": range(14, 22)}
FAST = ["--steps", "2", "--batch", "2", "--crop", "32", "--lr", "0.01"]
DETECTION = ["--steps", "2", "--lr", "0.01", "--scales", "40,48", "--scale", "40", "--seed", "3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """VOC2007 and VOC2012 of images that show a cat, which is red, or a dog, which is blue, or both."""
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
                write_image(folder, f"{number:06d}", [("cat",), ("dog",), ("cat", "dog")][number % 3], generator)
    return root


def write_image(folder, name, kinds, generator):
    image = generator.integers(90, 110, (40, 48, 3), dtype=np.uint8)
    mask, objects = np.zeros((40, 48), np.uint8), ""
    for kind in kinds:
        top, left = generator.integers(0, 20), generator.integers(0, 28)
        place = slice(top, top + 20), slice(left, left + 20)
        mask[place], image[place] = voc.CLASSES.index(kind) + 1, (230, 20, 20) if kind == "cat" else (20, 20, 230)
        box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{left + 20}</xmax><ymax>{top + 20}</ymax>"
        objects += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
    Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg")
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
def test_it_prints_and_saves_the_result(root, run, capsys, task, settings, report, metric):
    call = ["transfer", task, str(run), "--data-root", str(root), "--quiet", "--device", "cpu"]
    assert main([*call, *settings]) == 0
    printed = capsys.readouterr().out
    written = json.loads((run / "evaluations" / f"{report}.json").read_text())
    assert printed.startswith(f"run   {metric} in percent  paper (Table 3)\n")
    assert f"\ntiny  {written['value']:.1f}" in printed
    assert f"Trained on {written['train']}, evaluated on {written['test']}." in printed
    assert "Protocol of tiny: " in printed
    assert written["metric"] == metric
    assert written["seed"] == (3 if settings else 0)
    assert written["classes"]["cat"] is not None


def test_the_papers_numbers_stand_beside_ours():
    assert paper.printed_transfer("codial", TASKS["classification"].column) == 75.2
    assert paper.printed_transfer("random", TASKS["segmentation"].column) == 19.8
    assert paper.printed_transfer("supervised", "voc2007 detection") == 59.1
    assert paper.printed_transfer("codial-cls", "voc2007 detection") is None
    assert paper.printed_transfer("mine", "voc2007 detection") is None
    printed = {method: paper.printed_transfer(method, "voc2012 segmentation") for method in method_names()}
    later = {"simclr", "barlowtwins", "vicreg", "byol", "essl"}  # not in the paper
    assert {method for method, value in printed.items() if value is None} == later
    assert len(printed) == 10 + len(later)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["classification", "--steps", "5"],
            "classification has no --steps; of the tasks' settings it has none of them",
        ),
        (["detection", "--zoom", "2"], "detection has no --zoom; of the tasks' settings it has --steps, --seed, --lr"),
        (["detection", "--scales", "40,x"], "--scales is '40,x'; expected integers separated by commas"),
        (["segmentation", "--crop", "33"], "crop is 33; expected a multiple of 32"),
        (["segmentation", "--data-root", "nowhere"], "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, root, tiny_run, error_of):
    task, *rest = arguments
    assert expected in error_of(["transfer", task, tiny_run.folder, "--data-root", root, *rest])
