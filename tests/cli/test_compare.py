"""`codial compare` measures what run folders lack, and prints methods beside the paper's numbers."""

import shutil

import codial
from codial.cli.compare import PROBE_EPOCHS
from codial.cli.main import main


def test_it_prints_a_row_for_each_method_with_the_papers_below(run, tmp_path, fast, capsys):
    """The two runs have the same seed, so their numbers are equal."""
    assert main(["compare", str(run), str(shutil.copytree(run, tmp_path / "second")), "--epochs", "2", *fast]) == 0
    head, _, ours, paper, *rest = capsys.readouterr().out.splitlines()
    layers = ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert head.split() == ["top-1", "in", "percent", "runs", "views", *layers, "P@7"]
    assert ours.split()[:3] == ["codial/photos", "2", "400"]
    assert ours.count("± 0.0") == 6
    assert paper.split()[-5:] == ["60.5", "71.5", "74.3", "75.3", "75.4"]
    assert "standard deviation" in " ".join(rest)


def test_it_measures_only_what_is_missing(run, monkeypatch, fast, capsys):
    options = ["--epochs", "2", "--train", "photos", *fast[2:]]
    calls = []
    probe = codial.probe
    small = [codial.load_images("photos", split, limit=80) for split in ("train", "test")]
    monkeypatch.setattr("codial.cli.inputs.LabeledData.load", lambda *_: small)
    monkeypatch.setattr("codial.results.comparison.probe", lambda *a, **k: calls.append(a) or probe(*a, **k))
    for again in ([], [], ["--again"]):
        assert main(["compare", str(run), *options, *again]) == 0
    assert len(calls) == 2


def test_the_default_length_is_that_of_the_protocol():
    assert codial.ProbeConfig().epochs == PROBE_EPOCHS
