"""Thousands of damaged files of data sets, archives, runs and reports: each is read, or refused with a reason.

Where a published sum would give a damaged file away at once, it is left out, so that the readers themselves are tried.
"""

import io
import json
import pickle
import shutil
import tarfile
import warnings
import zipfile
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
from codial.checkpoints import newest, read_note, read_tensors, save_checkpoint
from codial.cli import main
from codial.data import celeba, cifar, cifar100, imagenet, places205, stl10, sums, tiny_imagenet, voc
from codial.data.unpack import unpack
from codial.evaluate import ProbeConfig, ProbeReport
from codial.evaluate.transfer import proposals
from codial.reports import groups, probe_report

pytestmark = [pytest.mark.faults, pytest.mark.slow]

EXAMPLES = 200  # files of each kind
WNIDS = ("n01440764", "n02084071", "n02121808")


@pytest.fixture(autouse=True)
def unverified(monkeypatch):
    """Files whose sums are right, however damaged they are."""
    monkeypatch.setattr(sums, "_fault", lambda path, known: "")
    monkeypatch.setattr(cifar, "SIDE", 2)  # few pixels, so that damage hits what is around them
    monkeypatch.setattr(stl10, "COUNTS", {"test": 4})


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def pictures(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number, 50, 90)).save(folder / name)


def make_cifar10(folder):
    for name, protocol in (("test_batch", 3), ("data_batch_1", 4)):
        rows = np.arange(4 * 12, dtype=np.uint8).reshape(4, 12)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": [0, 3, 9, 1], "filenames": ["a"]}, protocol))

    def read():
        for name in ("test_batch", "data_batch_1"):
            cifar.read_batch(folder / name, {}, "labels", 10, "cifar10")

    return read


def make_cifar100(folder):
    names = {"fine_label_names": [f"class {n}" for n in range(cifar100.COUNT)]}
    (folder / "meta").write_bytes(pickle.dumps(names, 3))
    (folder / "test").write_bytes(pickle.dumps({"data": np.zeros((2, 12), np.uint8), "fine_labels": [5, 99]}, 3))
    return lambda: cifar100.read(folder, "test")


def make_stl10(folder):
    (folder / "test_X.bin").write_bytes(bytes(4 * 27648))
    (folder / "test_y.bin").write_bytes(bytes([1, 2, 10, 4]))
    text(folder / "class_names.txt", *stl10.CLASSES)
    return lambda: stl10.read(folder, "test")


def make_voc2007(folder):
    place = folder / "VOCdevkit" / "VOC2007"
    pictures(place / "JPEGImages", "000005.jpg", "000007.jpg")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>7</xmax><ymax>5.5</ymax></bndbox>"
    for name in ("000005", "000007"):
        whole = f"<object><name>dog</name><difficult>1</difficult>{box}</object>"
        text(place / "Annotations" / f"{name}.xml", f"<annotation>{whole}{whole}</annotation>")
        (place / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), 7, np.uint8)).save(place / "SegmentationClass" / f"{name}.png")
    for task in ("Main", "Segmentation"):
        text(place / "ImageSets" / task / "val.txt", "000005  1", "000007 -1")

    def read():
        voc.annotated(folder, "val")
        for item in voc.segmented(folder, "val", 2007):
            voc.masked(item)
        voc.problems(folder, "val", 2007)

    return read


def make_celeba(folder):
    pictures(folder / "img_align_celeba", "000001.jpg", "000002.jpg", "000003.jpg")
    names = [f"00000{number}.jpg" for number in (1, 2, 3)]
    marks = " ".join(["1", "-1"] * 20)
    text(folder / celeba.ATTRIBUTES, "3", " ".join(f"Tag_{n}" for n in range(40)), *(f"{n} {marks}" for n in names))
    text(folder / celeba.PARTITION, *(f"{name} {part}" for part, name in enumerate(names)))
    return lambda: listed(celeba, folder, "test")


def make_places205(folder):
    pictures(folder / "images256", "a/abbey/1.jpg", "b/bakery/shop/2.jpg")
    text(folder / places205.CATEGORIES, "/a/abbey 0", "/b/bakery/shop 1")
    text(folder / places205.LISTS / "val_places205.csv", "a/abbey/1.jpg 0", "b/bakery/shop/2.jpg 1")
    return lambda: listed(places205, folder, "val")


def make_imagenet(folder):
    folder /= imagenet.FOLDER
    pictures(folder / "val", *(f"ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2, 3)))
    text(folder / imagenet.TRUTH, 2, 1, 3)
    text(folder / imagenet.MAPPING, *(f"{wnid} name {wnid}, other" for wnid in WNIDS))
    rows = [(number, wnid, f"words {number}") for number, wnid in enumerate(WNIDS, 1)]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    savemat(folder / imagenet.META, {"synsets": np.array(rows, kinds)}, do_compression=True)
    return lambda: listed(imagenet, folder, "val")


def make_tiny_imagenet(folder):
    text(folder / "wnids.txt", *WNIDS)
    text(folder / "words.txt", *(f"{wnid}\tname, {wnid}" for wnid in WNIDS))
    rows = [f"val_{number}.JPEG\t{wnid}\t0\t0\t3\t4" for number, wnid in enumerate(WNIDS)]
    text(folder / "val" / "val_annotations.txt", *rows)
    pictures(folder / "val" / "images", *(row.split("\t")[0] for row in rows))
    return lambda: listed(tiny_imagenet, folder, "val")


def listed(reader, folder, split):
    """Read all that a list names, in memory and from its files."""
    reader.problems(folder, split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.read(folder, split, size=8)
        files = reader.read(folder, split, size=8, keep="files")
        assert len(files.fingerprint) == 16
        files.batch(range(len(files)))


SETS = {
    "cifar10": (make_cifar10, ("test_batch", "data_batch_1")),
    "cifar100": (make_cifar100, ("meta", "test")),
    "stl10": (make_stl10, ("test_X.bin", "test_y.bin", "class_names.txt")),
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
    "imagenet": (make_imagenet, [f"imagenet/{file}" for file in (imagenet.TRUTH, imagenet.MAPPING, imagenet.META)]),
    "tiny-imagenet": (make_tiny_imagenet, ("wnids.txt", "words.txt", "val/val_annotations.txt")),
}
FILES = [(name, file) for name, (_, files) in SETS.items() for file in files]


@pytest.mark.parametrize(("name", "file"), FILES, ids=[f"{name}-{Path(file).name}" for name, file in FILES])
def test_a_damaged_file_of_a_set(name, file, tmp_path, ledger):
    read = SETS[name][0](tmp_path)
    read()  # whole: no error
    try_damages(tmp_path / file, read, f"damaged files of {name}", ledger)


def try_damages(path, read, kind, ledger):
    whole = path.read_bytes()

    @fuzzed(EXAMPLES)
    @given(edits)
    def is_read_or_refused(drawn):
        path.write_bytes(damaged(whole, drawn))
        ledger.file(kind, read)

    is_read_or_refused()


def tar(mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as file:
        for name, content in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as file:
        for name, content in MEMBERS.items():
            file.writestr(name, content)
    return buffer.getvalue()


MEMBERS = {"set/train/1.txt": b"one" * 30, "set/train/2.txt": b"two" * 30, "set/" + "long/" * 30 + "3.txt": b"three"}
ARCHIVES = {
    "zip, stored": lambda: zipped(zipfile.ZIP_STORED),
    "zip, deflated": lambda: zipped(zipfile.ZIP_DEFLATED),
    "zip, lzma": lambda: zipped(zipfile.ZIP_LZMA),
    "tar": lambda: tar(""),
    "tar.gz": lambda: tar("gz"),
    "tar.bz2": lambda: tar("bz2"),
    "tar.xz": lambda: tar("xz"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_damaged_archive(kind, tmp_path, ledger):
    archive, room = tmp_path / "in" / "archive", tmp_path / "in" / "room"
    room.mkdir(parents=True)
    archive.write_bytes(ARCHIVES[kind]())

    def read():
        shutil.rmtree(room)
        room.mkdir()
        try:
            unpack(archive, room)
        finally:
            assert {path.name for path in tmp_path.iterdir()} == {"in"}
            assert {path.name for path in archive.parent.iterdir()} == {"archive", "room"}

    read()
    assert sorted(p.relative_to(room).as_posix() for p in room.rglob("*") if p.is_file()) == sorted(MEMBERS)
    try_damages(archive, read, "damaged archives", ledger)


# Runs and reports


@pytest.fixture
def measured(tiny_run, tmp_path):
    """A copy of a run with reports, as it would be handed on."""
    run = codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    accuracies = {"conv1": (50.0, 51.5), "conv5": (60.25, 61.0)}
    told = ("photos/train 24 0123456789abcdef", "photos/test 24 fedcba9876543210", run.provenance["config_hash"])
    report = ProbeReport("tiny", accuracies, {"conv1": 9, "conv5": 9}, ProbeConfig(), *told)
    report.save(run.folder / "evaluations" / "probe-photos.json")
    codial.results.write_report(run, "retrieval-photos-fc7", {"precision": 41.5, "k": 7, "layer": "fc7"})
    codial.results.write_report(run, "transfer-voc2007-detection", {"value": 1.5})
    return run.folder


def read_run(folder):
    run = codial.open_run(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a last checkpoint that is damaged
        str(run)
        run.trunk()
        run.trunk("best")
    run.curve("loss")
    codial.runs.cut_history(folder, run.progress["step"])
    assert isinstance(run.provenance["config_hash"], str)
    (group,) = groups([run])
    report = probe_report(run, "photos")
    assert report is None or str(report)
    group.searched("photos")
    group.transferred("voc2007-detection")


HANDED_ON = (
    "config.json",
    "history.jsonl",
    "provenance.json",
    "evaluations/probe-photos.json",
    "evaluations/retrieval-photos-fc7.json",
    "evaluations/transfer-voc2007-detection.json",
)


@pytest.mark.parametrize("file", HANDED_ON)
def test_a_damaged_file_of_a_run(file, measured, ledger):
    read_run(measured)
    try_damages(measured / file, lambda: read_run(measured), "damaged files of runs", ledger)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, generator, ledger):
    saved = []
    for step in (1, 2):
        tensors = {"model.a": torch.randn(3, generator=generator), "model.b": torch.ones(2, 2, dtype=torch.int64)}
        save_checkpoint(tmp_path / "last.safetensors", tensors, {"step": step})
        saved.append(tensors)

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = newest(tmp_path)
        found, expected = read_tensors(path), saved[read_note(path)["step"] - 1]
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)

    read()
    try_damages(tmp_path / "last.safetensors", read, "damaged checkpoints", ledger)


def test_damaged_proposals_are_none(tmp_path, ledger):
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
        told = capsys.readouterr()
        assert (code, bool(told.err)) in ((0, False), (2, True))
        if code:
            raise codial.errors.CodialError(told.err)

    read()
    try_damages(path, read, "damaged configs", ledger)
