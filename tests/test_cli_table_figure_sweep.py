"""codial table, figure and sweep, called as users call them."""

import re
from pathlib import Path

import pytest

from codial import open_run
from codial.cli import main

TINY = ["data.limit=80", "views.size=16", "model.width=0.05", "train.epochs=1", "train.batch=40"]
SETS = [part for setting in TINY for part in ("--set", setting)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs, made by a sweep, and probed."""
    root = tmp_path_factory.mktemp("runs")
    names = ["codial-pairs2/photos", "codial/photos"]
    assert main(["sweep", *names, "--out", str(root), "--quiet", "--device", "cpu", *SETS]) == 0
    folders = [str(root / "photos/codial-pairs2"), str(root / "photos/codial")]
    assert main(["probe", *folders, "--limit", "80", "--epochs", "2", "--quiet", "--device", "cpu"]) == 0
    return folders


def told(capsys, arguments):
    """Call a command that must fail by the user's mistake; return its one message."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("codial: ")
    assert shown.err.count("\n") == 1
    return shown.err


def test_table_prints_the_papers_numbers_and_ours(runs, capsys):
    assert main(["table", "2", *runs]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^cr \+ co +60\.5 +71\.5 +74\.3 +75\.3 +75\.4$", out, re.MULTILINE)
    assert re.search(r"^cr \+ co: codial/photos +1( +\d+\.\d){5}$", out, re.MULTILINE)
    assert "not comparable with" in out
    assert "Table 2 has no row for codial-pairs2/photos." in out


@pytest.mark.parametrize("number", ["1", "2", "3"])
def test_table_without_runs(number, capsys):
    assert main(["table", number]) == 0
    assert capsys.readouterr().out.startswith(f"Table {number} of the paper.")


@pytest.mark.parametrize(("number", "ending"), [("2", "png"), ("2", "pdf"), ("3", "png"), ("4", "png")])
def test_figure_writes_a_file(number, ending, runs, tmp_path, capsys):
    out = tmp_path / f"deep/figure.{ending}"
    few = ["--limit", "80", "--rows", "2", "--quiet", "--device", "cpu"]
    assert main(["figure", number, *([] if number == "2" else runs), "--out", str(out), *few]) == 0
    assert out.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[ending])
    assert f"Wrote {out}" in capsys.readouterr().out


def test_figure_leaves_the_runs_reports_as_they_are(runs, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in Path(runs[0]).rglob("*")}
    few = ["--limit", "80", "--rows", "1", "--quiet", "--device", "cpu"]
    assert main(["figure", "4", runs[0], "--out", str(tmp_path / "figure.png"), *few]) == 0
    assert {path: path.stat().st_mtime_ns for path in Path(runs[0]).rglob("*")} == before


def test_sweep_says_what_became_of_each(runs, tmp_path, capsys):
    names = ["codial-pairs[12]/photos", "random/photos"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/codial-pairs1").write_text("in the way")
    assert main(["sweep", *names, "--out", str(tmp_path), "--quiet", "--device", "cpu", *SETS]) == 2
    first, second, third, summary, failure = capsys.readouterr().out.splitlines()
    assert first.startswith("1/3 codial-pairs1/photos, seed 0: FAILED, ")
    assert second.startswith("2/3 codial-pairs2/photos, seed 0: trained, ")
    assert third.startswith("3/3 random/photos, seed 0: trained, ")
    assert summary == "2 of 3 done."
    assert failure.startswith(f"Failed: codial-pairs1/photos, seed 0, {tmp_path / 'photos/codial-pairs1'}: ")
    assert open_run(tmp_path / "photos/random").config.train.epochs == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["table", "2", "{tmp}/none"], "is not a run"),
        (["figure", "2", "--out", "x.svg"], "expected a file that ends in .png or .pdf"),
        (["figure", "3", "--out", "x.png"], "`codial sweep figure3/photos --probe` makes such runs"),
        (["figure", "4", "--out", "x.png"], "`codial sweep figure4/photos` makes the paper's"),
        (["sweep", "codial/foto"], "Did you mean 'codial/photos'?"),
        (["sweep", "codial/photos", "--set", "train.epochs"], "expected KEY=VALUE"),
        (["sweep", "codial/photos", "--set", "train.epoch=1"], "Did you mean train.epochs"),
    ],
)
def test_a_mistake_gets_one_message(arguments, expected, tmp_path, capsys):
    assert expected in told(capsys, [argument.format(tmp=tmp_path) for argument in arguments])
