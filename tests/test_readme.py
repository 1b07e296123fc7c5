"""What the README says: it is short, its numbers come from the results, its files and commands are there."""

import json
import re
from pathlib import Path
from statistics import mean, stdev

import pytest

from codial.evaluate import ProbeReport

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
ROWS = dict(re.findall(r"^\| (\w[\w-]*/\w+) \|(.+)\|$", README, re.MULTILINE))


def measured(path):
    """Accuracies of the five layers, then precision at 7 by fc7."""
    report, searched = ProbeReport.load(path), json.loads(next(path.parent.glob("retrieval-*-fc7.json")).read_text())
    assert report.config_hash == searched["config_hash"]
    return [report.mean(layer) for layer in report.accuracies] + [searched["precision"]]


def test_it_is_short():
    assert len(README.splitlines()) <= 120
    assert len(ROWS) == 5


@pytest.mark.parametrize("name", ROWS)
def test_measured_rows_are_those_of_the_results(name):
    """One run as it is, several as mean and standard deviation."""
    method, scale = name.split("/")
    runs = [measured(path) for path in PROJECT.glob(f"results/{scale}*/{method}/probe-*.json")]
    columns = [(mean(c), stdev(c) if len(c) > 1 else None) for c in zip(*runs, strict=True)]
    expected = [f"{m:.1f}" if spread is None else f"{m:.1f} ± {spread:.1f}" for m, spread in columns]
    assert [cell.strip() for cell in ROWS[name].split("|")] == expected


def test_every_file_it_shows_or_names_is_there():
    images = re.findall(r"!\[.*?\]\((.+?)\)", README)
    files = re.findall(r"`([\w/-]+\.(?:md|yml|cff))`", README)
    assert images
    assert files
    assert [name for name in images + files if not (PROJECT / name).is_file()] == []


def test_every_notebook_has_a_line():
    for path in (PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"`{path.stem}`" in README


def test_every_make_target_is_there():
    targets = re.findall(r"\bmake ([a-z]+)\b", README)
    makefile = (PROJECT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_its_python_runs(photos, tiny_run, monkeypatch, capsys):
    """The six lines, on a trained run of a few images."""
    (code,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 6
    monkeypatch.setattr("codial.load_images", lambda source, split: photos[split].subset(80))
    monkeypatch.setattr("codial.pretrain", lambda config, folder: tiny_run)
    exec(code, {})
    assert "conv5" in capsys.readouterr().out
