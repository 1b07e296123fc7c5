"""The way from a folder of one's own images to its neighbors and its map, for few images and without labels."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from codial import open_run
from codial.cli.main import main
from codial.evaluate import embeddings

TINY = ["--set=views.size=16", "--set=model.width=0.05", "--set=train.batch=8", "--device=cpu"]
SHORT = ["--set=train.epochs=2", "--quiet"]


def photographs(folder, count, seed=0):
    """Write images of different sizes and formats, and return their folder."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        height, width = generator.integers(20, 60, 2)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.{('jpg', 'PNG', 'JPG')[number % 3]}")
    return folder


def called(capsys, *arguments):
    """Run a command that must succeed, and return what it prints."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr()


@pytest.fixture(scope="module")
def of_ten(tmp_path_factory):
    """The folder of a short run on ten images, which tests leave as it is."""
    root = tmp_path_factory.mktemp("own")
    folder = photographs(root / "ten", 10)
    assert main(["pretrain", str(folder), "--out", str(root / "run"), *TINY, *SHORT]) == 0
    return root / "run"


@pytest.fixture
def no_umap(monkeypatch):
    """Replace UMAP, which takes half a minute to start."""
    monkeypatch.setattr(embeddings, "project", lambda vectors, **_: vectors[:, :2])


def test_a_folder_is_trained_on_whole_for_the_views_of_the_recipe(tmp_path, monkeypatch, of_ten, capsys):
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "summer 25", 12)
    calls = []
    monkeypatch.setattr("codial.pretrain", lambda *arguments, **_: calls.append(arguments) or open_run(of_ten))
    called(capsys, "pretrain", "summer 25")
    ((config, out),) = calls
    assert str(out) == "runs/summer 25"
    assert (config.data.split, config.train.epochs, config.name) == ("all", 2000, "codial/summer 25")


def test_it_says_what_it_will_do_and_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "trip", 10)
    printed = called(capsys, "pretrain", "trip", *TINY, "--set=train.epochs=30").out.splitlines()
    printed = printed[printed.index("10 images of trip/all: 1,200 views, in 30 epochs of 1 step.") :]
    assert printed[1].startswith("That is too few to learn from (fewer than 10,000)")
    assert re.fullmatch(r"This takes about \d+ (s|min)\. Ctrl-C saves; the same command resumes\.", printed[2])
    assert printed[3] == (
        "runs/trip: finished, 30 epochs, too few views (1,200); no kNN and probe accuracy, which need labels"
    )
    assert printed[4].startswith("It cannot have learned much: train on at least 10,000 views")
    commands = [line.removeprefix("Next: codial ") for line in printed[5:]]
    assert commands == ["retrieve runs/trip", "embed runs/trip --out runs/trip/map.png"]
    monkeypatch.setattr(embeddings, "project", lambda vectors, **_: vectors[:, :2])
    for command in commands:
        assert main(shlex.split(command)) == 0
    assert open_run("runs/trip").provenance["images"]["count"] == 10


def test_classes_of_a_folder_lead_to_a_probe(tmp_path, capsys):
    for seed, name in enumerate(("cats", "dogs")):
        photographs(tmp_path / "pets" / name, 15, seed)
    printed = called(capsys, "pretrain", tmp_path / "pets", "--out", tmp_path / "run", *TINY, *SHORT).out
    assert f"Next: codial probe {tmp_path / 'run'}\n" in printed
    assert re.search(r"best kNN \d+\.\d %, best quick probe \d+\.\d %", printed)
    assert open_run(tmp_path / "run").provenance["images"]["count"] == 30
    called(capsys, "probe", tmp_path / "run", "--epochs", "1", "--seeds", "1", "--quiet")
    found = called(capsys, "retrieve", tmp_path / "run", "--quiet", "--out", tmp_path / "n.png").out
    assert re.search(r"codial/pets +\d+\.\d %", found)
    assert found.count("pets/all: 30 images") == 2


def test_data_source_is_the_same(tmp_path, of_ten, capsys):
    folder = of_ten.parent / "ten"
    for arguments in (["pretrain", str(folder)], ["pretrain", "codial/photos", "--set", f"data.source={folder}"]):
        shown = called(capsys, *arguments, "--show").out
        assert "train.epochs = 2400\n" in shown
        assert "data.split = all\n" in shown
    assert "train.epochs = 7\n" in called(capsys, *arguments, "--show", "--set", "train.epochs=7").out


def test_folders_of_one_name_have_different_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = (photographs(tmp_path / parent / "images", 4, seed) for seed, parent in enumerate("ab"))
    for folder, run in ((first, "images"), (second, "images-2"), (first, "images")):
        assert f"runs/{run}: finished" in called(capsys, "pretrain", folder, *TINY, *SHORT).out
    other = called(capsys, "pretrain", "random/photos", f"--set=data.source={first}", *TINY[:2], "--quiet").out
    assert "runs/images-random: finished, 0 epochs" in other


def test_retrieval_without_labels_has_no_precision(of_ten, tmp_path, capsys):
    printed = called(capsys, "retrieve", of_ten, "--out", tmp_path / "n.png", "--k", "20", "--quiet").out
    assert "nan" not in printed
    assert "A query has 9 neighbors here: k is 9 instead of 20." in printed
    assert "Precision needs labels, a sub-folder for each class; the figure shows the neighbors." in printed
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [4, 16, 30])
def test_a_map_of_few_images(count, of_ten, tmp_path, no_umap, capsys):
    folder = photographs(tmp_path / "few", count)
    printed = called(capsys, "embed", of_ten, "--data", folder, "--out", tmp_path / "map.png", "--quiet")
    assert f"from ImageSet(few/all: {count} images" in printed.out
    fewer = f"codial: warning: There are {count} images: the map uses {count - 1} neighbors instead of 15.\n"
    assert printed.err == (fewer if count < 16 else "")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("count", "command", "expected"),
    [
        (1, "pretrain {folder} --out {out}", "few has 1 images; pretraining needs at least 2"),
        (1, "embed {run} --data {folder} --out {out}.png", "A map needs at least 4 images; there is 1."),
        (2, "embed {run} --data {folder} --out {out}.png", "A map needs at least 4 images; there are 2."),
        (1, "retrieve {run} --train {folder} --quiet", "has no other image to find; retrieval needs at least 2"),
        (2, "pretrain {folder} --set data.source={folder}", "not both"),
        (2, "pretrain {run}", "is a run; `codial pretrain {run}/config.json --out {run}` resumes it"),
        (2, "pretrain {folder}/none", "{folder}/none does not exist; expected a folder of images, a preset or"),
        (2, "pretrain {folder}/0.jpg", "0.jpg is a file; expected a folder of images"),
        (2, "pretrain holiday", "There is no preset called 'holiday'"),
        (2, "pretrain holiday", "Nor is there a folder holiday."),
    ],
)
def test_a_mistake_gets_one_line(count, command, expected, of_ten, tmp_path, capsys):
    folder = photographs(tmp_path / "few", count)
    paths = {"folder": folder, "run": of_ten, "out": tmp_path / "out"}
    assert main([part.format(**paths) for part in command.split()]) == 2
    error = capsys.readouterr().err
    assert expected.format(**paths) in error
    assert error.count("\n") == 1


def test_two_images_are_enough_for_training_and_retrieval(tmp_path, capsys):
    folder = photographs(tmp_path / "two", 2)
    called(capsys, "pretrain", folder, "--out", tmp_path / "run", *TINY, *SHORT)
    printed = called(capsys, "retrieve", tmp_path / "run", "--quiet").out
    assert "A query has 1 neighbor here: k is 1 instead of 7." in printed
