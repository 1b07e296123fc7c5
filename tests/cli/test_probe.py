"""`codial probe` prints and saves the accuracy of each layer under three protocols."""

import re
import shutil

import pytest

from codial.cli.main import main

SCORE = r"\d+\.\d ± \d+\.\d"


def test_it_prints_a_row_for_each_run_and_the_protocol(run, tmp_path, fast, capsys):
    """The two runs are equal, so their numbers are, and the seeds of the classifiers are."""
    folders = [str(run), str(shutil.copytree(run, tmp_path / "second"))]
    assert main(["probe", *folders, "--layers", "conv1, conv5", "--epochs", "2", "--seeds", "2", *fast]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["conv1", "conv5"]
    assert [line.split()[0] for line in lines[2:4]] == folders, "runs of the same name are listed by folder"
    assert re.findall(SCORE, lines[2]) == re.findall(SCORE, lines[3])
    assert len(re.findall(SCORE, lines[2])) == 2
    assert "photos/train: 80 images" in lines[5]
    assert "photos/test: 80 images" in lines[5]
    assert "2 epochs" in lines[6]
    assert "2 probe seeds" in lines[6]
    assert lines[7].startswith("Dimensions, of the last run: conv1 ")
    assert (run / "evaluations/probe-photos.json").exists()


@pytest.mark.parametrize(("protocol", "length"), [("zhang", "--steps"), ("globstat", "--epochs")])
def test_it_probes_by_an_older_protocol(protocol, length, run, fast, capsys):
    options = ["--protocol", protocol, length, "2", "--seeds", "2", "--layers", "conv1,conv5", *fast]
    assert main(["probe", str(run), *options]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(SCORE, out)) == 2
    assert f"2 {length.removeprefix('--')}" in out
    assert re.search(r"^Dimensions: conv1 \d+, conv5 \d+\.$", out, re.MULTILINE)
    assert (run / f"evaluations/probe-photos-{protocol}.json").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{run}x"], "is not a run: it has no config.json. Runs beside it: {run}."),
        (["{run}", "--train", "foto", "--limit", "20"], "photos, cifar10"),
        (["{run}", "--layers", "conv9", "--limit", "20"], "conv1, conv2"),
        (["{run}", "--steps", "9"], "--steps does not fit --protocol codial, whose length is --epochs."),
        (["{run}", "--protocol", "zhang", "--epochs", "9"], "whose length is --steps"),
        (["{run}", "--test-split", "tset"], "Did you mean 'test'?"),
        (["{run}", "--limit", "20", "--device", "tpu"], "'tpu'"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, trained, error_of):
    assert expected.format(run=trained) in error_of(["probe", *(part.format(run=trained) for part in arguments)])
