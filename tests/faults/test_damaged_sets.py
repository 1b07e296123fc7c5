"""Thousands of damaged files of data sets, runs and reports: each is read, or refused with a reason.

Data sets whose files have a pinned checksum (CIFAR, STL-10) are not among them: a damaged file is refused by it.
"""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import damaged, edits, fuzzed
from hypothesis import given
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat

import codial
from codial.cli.main import main
from codial.data.datasets import celeba, imagenet, places205, tiny_imagenet, voc
from codial.evaluate import ProbeConfig, ProbeReport
from codial.evaluate.transfer import proposals
from codial.results.aggregate import group_by_seed, probe_report
from codial.runs.checkpoints import latest_checkpoint, read_tensors, save_checkpoint
from codial.runs.history import truncate_history
from codial.runs.metadata import read_metadata
from codial.runs.reports import write_report

pytestmark = [pytest.mark.faults, pytest.mark.slow]

EXAMPLES = 200  # damaged files of each kind
WNIDS = ("n01440764", "n02084071", "n02121808")


def write_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_images(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number, 50, 90)).save(folder / name)


def make_voc2007(folder):
    year = folder / "VOCdevkit" / "VOC2007"
    write_images(year / "JPEGImages", "000005.jpg", "000007.jpg")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>7</xmax><ymax>5.5</ymax></bndbox>"
    for name in ("000005", "000007"):
        item = f"<object><name>dog</name><difficult>1</difficult>{box}</object>"
        write_lines(year / "Annotations" / f"{name}.xml", f"<annotation>{item}{item}</annotation>")
        (year / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), 7, np.uint8)).save(year / "SegmentationClass" / f"{name}.png")
    for task in ("Main", "Segmentation"):
        write_lines(year / "ImageSets" / task / "val.txt", "000005  1", "000007 -1")

    def read():
        voc.read_annotations(folder, "val")
        for item in voc.list_segmented(folder, "val", 2007):
            voc.read_image_and_mask(item)
        voc.problems(folder, "val", 2007)

    return read


def make_celeba(folder):
    write_images(folder / "img_align_celeba", "000001.jpg", "000002.jpg", "000003.jpg")
    names = [f"00000{number}.jpg" for number in (1, 2, 3)]
    values = " ".join(["1", "-1"] * 20)
    write_lines(
        folder / celeba.ATTRIBUTES, "3", " ".join(f"Tag_{n}" for n in range(40)), *(f"{n} {values}" for n in names)
    )
    write_lines(folder / celeba.PARTITION, *(f"{name} {part}" for part, name in enumerate(names)))
    return lambda: read_all(celeba, folder, "test")


def make_places205(folder):
    write_images(folder / "images256", "a/abbey/1.jpg", "b/bakery/shop/2.jpg")
    write_lines(folder / places205.CATEGORIES, "/a/abbey 0", "/b/bakery/shop 1")
    write_lines(folder / places205.LISTS / "val_places205.csv", "a/abbey/1.jpg 0", "b/bakery/shop/2.jpg 1")
    return lambda: read_all(places205, folder, "val")


def make_imagenet(folder):
    folder /= "imagenet"
    write_images(folder / "val", *(f"ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2, 3)))
    write_lines(folder / imagenet.GROUND_TRUTH, 2, 1, 3)
    write_lines(folder / imagenet.MAPPING, *(f"{wnid} name {wnid}, other" for wnid in WNIDS))
    rows = [(number, wnid, f"words {number}") for number, wnid in enumerate(WNIDS, 1)]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    savemat(folder / imagenet.META, {"synsets": np.array(rows, kinds)}, do_compression=True)
    return lambda: read_all(imagenet, folder, "val")


def make_tiny_imagenet(folder):
    write_lines(folder / "wnids.txt", *WNIDS)
    write_lines(folder / "words.txt", *(f"{wnid}\tname, {wnid}" for wnid in WNIDS))
    rows = [f"val_{number}.JPEG\t{wnid}\t0\t0\t3\t4" for number, wnid in enumerate(WNIDS)]
    write_lines(folder / "val" / "val_annotations.txt", *rows)
    write_images(folder / "val" / "images", *(row.split("\t")[0] for row in rows))
    return lambda: read_all(tiny_imagenet, folder, "val")


def read_all(reader, folder, split):
    """Read all listed images, into memory and from their files."""
    reader.problems(folder, split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.read(folder, split, size=8)
        files = reader.read(folder, split, size=8, storage="files")
        assert len(files.fingerprint) == 16
        files.batch(range(len(files)))


SETS = {
    "voc2007": (
        make_voc2007,
        [
            f"VOCdevkit/VOC2007/{name}"
            for name in (
                "Annotations/000007.xml",
                "ImageSets/Main/val.txt",
                "ImageSets/Segmentation/val.txt",
                "JPEGImages/000005.jpg",
                "SegmentationClass/000005.png",
            )
        ],
    ),
    "celeba": (make_celeba, (celeba.ATTRIBUTES, celeba.PARTITION)),
    "places205": (make_places205, (places205.CATEGORIES, f"{places205.LISTS}/val_places205.csv")),
    "imagenet": (
        make_imagenet,
        [f"imagenet/{file}" for file in (imagenet.GROUND_TRUTH, imagenet.MAPPING, imagenet.META)],
    ),
    "tiny-imagenet": (make_tiny_imagenet, ("wnids.txt", "words.txt", "val/val_annotations.txt")),
}
FILES = [(name, file) for name, (_, files) in SETS.items() for file in files]


@pytest.mark.parametrize(("name", "file"), FILES, ids=[f"{name}-{Path(file).name}" for name, file in FILES])
def test_a_damaged_file_of_a_set(name, file, tmp_path, ledger):
    read = SETS[name][0](tmp_path)
    read()  # undamaged: no error
    try_damages(tmp_path / file, read, f"damaged files of {name}", ledger)


def try_damages(path, read, kind, ledger):
    content = path.read_bytes()

    @fuzzed(EXAMPLES)
    @given(edits)
    def is_read_or_refused(changes):
        path.write_bytes(damaged(content, changes))
        ledger.file(kind, read)

    is_read_or_refused()


# Runs and reports


@pytest.fixture
def measured(tiny_run, tmp_path):
    """A copy of a run with reports."""
    run = codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    accuracies = {"conv1": (50.0, 51.5), "conv5": (60.25, 61.0)}
    names = ("photos/train 24 0123456789abcdef", "photos/test 24 fedcba9876543210", run.provenance["config_hash"])
    report = ProbeReport("tiny", accuracies, {"conv1": 9, "conv5": 9}, ProbeConfig(), *names)
    report.save(run.folder / "evaluations" / "probe-photos.json")
    write_report(run, "retrieval-photos-fc7", {"precision": 41.5, "k": 7, "layer": "fc7"})
    write_report(run, "transfer-voc2007-detection", {"value": 1.5})
    return run.folder


def read_run(folder):
    run = codial.open_run(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a damaged last checkpoint
        str(run)
        run.backbone()
        run.backbone("best")
    run.curve("loss")
    truncate_history(folder, run.progress["step"])
    assert isinstance(run.provenance["config_hash"], str)
    (group,) = group_by_seed([run])
    report = probe_report(run, "photos")
    assert report is None or str(report)
    group.retrieval_precision("photos")
    group.transfer_values("voc2007-detection")


RUN_FILES = (
    "config.json",
    "history.jsonl",
    "provenance.json",
    "evaluations/probe-photos.json",
    "evaluations/retrieval-photos-fc7.json",
    "evaluations/transfer-voc2007-detection.json",
)


@pytest.mark.parametrize("file", RUN_FILES)
def test_a_damaged_file_of_a_run(file, measured, ledger):
    read_run(measured)
    try_damages(measured / file, lambda: read_run(measured), "damaged files of runs", ledger)


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(tmp_path, generator, ledger):
    saved = []
    for step in (1, 2):
        tensors = {"model.a": torch.randn(3, generator=generator), "model.b": torch.ones(2, 2, dtype=torch.int64)}
        save_checkpoint(tmp_path / "last.safetensors", tensors, {"step": step})
        saved.append(tensors)

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = latest_checkpoint(tmp_path)
        tensors, expected = read_tensors(path), saved[read_metadata(path)["step"] - 1]
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[name], expected[name]) for name in expected)

    read()
    try_damages(tmp_path / "last.safetensors", read, "damaged checkpoints", ledger)


def test_damaged_proposals_are_ignored(tmp_path, ledger):
    path = tmp_path / "boxes.safetensors"
    path.write_bytes(save({"boxes": torch.arange(12.0).view(3, 4)}))

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            boxes = proposals._read(path)
        assert boxes is None or boxes.shape[1:] == (4,)

    try_damages(path, read, "damaged proposals", ledger)


def test_a_damaged_config_on_the_command_line(tiny, tmp_path, ledger, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(codial.config.to_dict(tiny)))

    def read():
        code = main(["pretrain", str(path), "--show"])
        printed = capsys.readouterr()
        assert (code, bool(printed.err)) in ((0, False), (2, True))
        if code:
            raise codial.errors.CodialError(printed.err)

    read()
    try_damages(path, read, "damaged configs", ledger)
