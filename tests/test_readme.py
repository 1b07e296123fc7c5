"""What the README says: its numbers come from the results, its files and commands are there."""

import json
import re
from pathlib import Path

import pytest

import codial
from codial.config import config_hash, from_dict
from codial.evaluate import ProbeReport

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
RESULTS = sorted((PROJECT / "results").glob("*/*/probe-*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_measured_rows_are_those_of_the_results(path):
    """Five layers, then precision at 7 by fc7."""
    report, searched = ProbeReport.load(path), json.loads(next(path.parent.glob("retrieval-*-fc7.json")).read_text())
    row = re.search(rf"^\| {report.name} \|(.+)\|$", README, re.MULTILINE)
    assert row, f"no row for {report.name}"
    assert report.config_hash == searched["config_hash"]
    expected = [report.mean(layer) for layer in report.accuracies] + [searched["precision"]]
    assert [cell.strip() for cell in row[1].split("|")] == [f"{number:.1f}" for number in expected]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_result_comes_with_the_settings_that_made_it(path):
    config = from_dict(json.loads((path.parent / "config.json").read_text()))
    assert config_hash(config) == ProbeReport.load(path).config_hash
    assert config == codial.preset(config.name), "made with other settings than the preset's: measure again"


def test_there_are_results():
    found = {"/".join(path.parts[-3:-1]) for path in RESULTS}
    assert found >= {f"{data}/{system}" for data in ("photos", "cifar10") for system in ("codial", "random")}


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
