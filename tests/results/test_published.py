"""Published runs in `results/`: each comes with its settings, probes and neighbors."""

import dataclasses
import json
from pathlib import Path

import pytest

import codial
from codial.config import config_hash, from_dict
from codial.evaluate import ProbeReport

RESULTS = Path(__file__).resolve().parents[2] / "results"
OTHER = ("weights", "voc-mini")  # copies, and transfer results
REPORTS = [path for path in sorted(RESULTS.glob("*/*/probe-*.json")) if path.parts[-3] not in OTHER]


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_result_comes_with_the_settings_that_made_it(path):
    stored = json.loads((path.parent / "config.json").read_text())
    config = from_dict(stored)
    assert config_hash(stored) == ProbeReport.load(path).config_hash
    ours = dataclasses.replace(config, seed=0)
    assert ours == codial.preset(config.name), "made with other settings than the preset's: measure again"


def test_every_published_run_was_probed_and_searched():
    """Else a mean would be of fewer seeds than it says."""
    for path in RESULTS.glob("*/*/provenance.json"):
        if path.parts[-3] not in OTHER:
            scale = path.parts[-3].split("-seed")[0]
            source = "photos" if scale == "photos" else "cifar10"
            assert (path.parent / f"probe-{source}.json").exists(), path.parent
            assert (path.parent / f"retrieval-{source}-fc7.json").exists(), path.parent


def test_there_are_results():
    found = {"/".join(path.parts[-3:-1]) for path in REPORTS}
    assert found >= {f"{data}/{method}" for data in ("photos", "cifar10") for method in ("codial", "random")}
