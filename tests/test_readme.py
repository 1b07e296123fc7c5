"""What the README says: its numbers come from the results, its files and commands are there."""

import re
from pathlib import Path

import pytest

from codial.evaluate import ProbeReport

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
RESULTS = sorted((PROJECT / "results" / "photos").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_measured_rows_are_those_of_the_results(path):
    report = ProbeReport.load(path)
    row = re.search(rf"^\| {report.name} \|(.+)\|$", README, re.MULTILINE)
    assert row, f"no row for {report.name}"
    assert [cell.strip() for cell in row[1].split("|")] == [f"{report.mean(layer):.1f}" for layer in report.accuracies]


def test_there_are_results():
    assert {path.stem for path in RESULTS} >= {"codial", "random", "supervised"}


def test_every_picture_is_there():
    pictures = re.findall(r"!\[.*?\]\((.+?)\)", README)
    assert pictures
    assert all((PROJECT / picture).is_file() for picture in pictures)


def test_every_notebook_has_a_line():
    for path in (PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"`{path.stem}`" in README


def test_every_make_target_is_there():
    targets = re.findall(r"\bmake ([a-z]+)\b", README)
    makefile = (PROJECT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
