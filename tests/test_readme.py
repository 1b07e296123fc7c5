"""What the README says: its numbers come from the results, its files and commands are there."""

import dataclasses
import json
import re
from pathlib import Path
from statistics import mean, stdev

import pytest

import codial
from codial.config import config_hash, from_dict
from codial.evaluate import ProbeReport

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
RESULTS = [p for p in sorted((PROJECT / "results").glob("*/*/probe-*.json")) if "weights" not in p.parts]  # copies


REPORTS = {path: ProbeReport.load(path) for path in RESULTS}


def measured(path):
    """Accuracies of the five layers, then precision at 7 by fc7."""
    report, searched = REPORTS[path], json.loads(next(path.parent.glob("retrieval-*-fc7.json")).read_text())
    assert report.config_hash == searched["config_hash"]
    return [report.mean(layer) for layer in report.accuracies] + [searched["precision"]]


def shown(name):
    """Every method has a row; of CODIAL's parts and variants, which notebooks show, those that are here."""
    return not name.startswith("codial-") or f"| {name} |" in README


@pytest.mark.parametrize("name", sorted({report.name for report in REPORTS.values() if shown(report.name)}))
def test_measured_rows_are_those_of_the_results(name):
    """One run as it is, several as mean and standard deviation."""
    runs = [measured(path) for path, report in REPORTS.items() if report.name == name]
    row = re.search(rf"^\| {name} \|(.+)\|$", README, re.MULTILINE)
    assert row, f"no row for {name}"
    columns = [(mean(c), stdev(c) if len(c) > 1 else None) for c in zip(*runs, strict=True)]
    expected = [f"{m:.1f}" if spread is None else f"{m:.1f} ± {spread:.1f}" for m, spread in columns]
    assert [cell.strip() for cell in row[1].split("|")] == expected


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_result_comes_with_the_settings_that_made_it(path):
    stored = json.loads((path.parent / "config.json").read_text())
    config = from_dict(stored)
    assert config_hash(stored) == REPORTS[path].config_hash
    ours = dataclasses.replace(config, seed=0)
    assert ours == codial.preset(config.name), "made with other settings than the preset's: measure again"


def test_every_published_run_was_probed_and_searched():
    """Else a mean would be of fewer seeds than it says."""
    for path in PROJECT.glob("results/*/*/provenance.json"):
        if path.parts[-3] not in ("weights", "voc-mini"):
            scale = path.parts[-3].split("-seed")[0]
            source = "photos" if scale == "photos" else "cifar10"
            assert (path.parent / f"probe-{source}.json").exists(), path.parent
            assert (path.parent / f"retrieval-{source}-fc7.json").exists(), path.parent


def test_there_are_results():
    found = {"/".join(path.parts[-3:-1]) for path in RESULTS}
    assert found >= {f"{data}/{method}" for data in ("photos", "cifar10") for method in ("codial", "random")}


def test_speeds_are_those_of_the_bench():
    bench = json.loads((PROJECT / "results" / "bench-cpu.json").read_text())
    speed = README.split("## Speed")[1].split("##")[0]

    def rates(part, case):
        return {who: measured["per_second"] for who, measured in bench[part]["cases"][case].items()}

    sizes = ("96 to 64 px, crop, flip, color", "256 to 224 px, crop, flip, color")
    for case in (*sizes, "96 to 64 px, crop, flip, color, warp, blur"):
        found = rates("sampling", case)
        peers = max(rate for who, rate in found.items() if who.startswith("torchvision"))
        for rate in (found["codial"], found["kornia"], peers):
            assert f"{int(rate + 0.5):,}" in speed, case
    (training,) = bench["training"]["cases"]
    found = rates("training", training)
    ours, ceiling = found["codial"], found["backbone alone"]
    plain = max(rate for who, rate in found.items() if who.startswith("plain"))
    assert f"{ours:,.0f} views a second" in speed
    assert f"{ours / plain:.1f} times the plain recipe" in speed
    assert f"{100 * ours / ceiling:.0f} % of the backbone" in speed
    (probing,) = bench["probing"]["cases"]
    found = rates("probing", probing)
    assert f"{found['codial'] / found['scikit-learn']:.0f} times as fast as scikit-learn's" in speed
    (streaming,) = bench["streaming"]["cases"]
    found = bench["streaming"]["cases"][streaming]["codial"]
    assert f"read at {found['per_second']:,.0f} images a second" in speed
    assert f"in {found['memory']:.0f} MB" in speed


def test_every_image_is_there():
    images = re.findall(r"!\[.*?\]\((.+?)\)", README)
    assert images
    assert all((PROJECT / image).is_file() for image in images)


def test_every_notebook_has_a_line():
    for path in (PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"`{path.stem}`" in README


def test_every_make_target_is_there():
    targets = re.findall(r"\bmake ([a-z]+)\b", README)
    makefile = (PROJECT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
