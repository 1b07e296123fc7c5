"""What is published of a run."""

import json
import shutil

import pytest

import codial
from codial.config import config_hash
from codial.errors import CodialError
from codial.results import publish


@pytest.fixture
def searched(tiny_run, few, tmp_path):
    """A copy of a finished run, with a report of its own."""
    shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("evaluations"))
    run = codial.open_run(tmp_path / "run")
    found = codial.retrieve(run, few, few, k=3, progress=False)
    return run, found


def test_retrieval_leaves_a_report(searched, few, tiny):
    run, found = searched
    report = json.loads((run.folder / "evaluations" / "retrieval-photos-fc7.json").read_text())
    assert report == {
        "name": "tiny",
        "config_hash": config_hash(tiny),
        "precision": found.precision,
        "k": 3,
        "layer": "fc7",
        "gallery": f"photos/train 24 {few.fingerprint}",
        "queries": f"photos/train 24 {few.fingerprint}",
    }


def test_all_but_the_weights_is_published_and_older_reports_go(searched, tmp_path):
    run, _ = searched
    folder = tmp_path / "results" / tmp_path.name / "run"
    folder.mkdir(parents=True)
    (folder / "probe-old.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    assert publish(run, tmp_path / "results") == folder
    published = {"config.json", "history.jsonl", "provenance.json", "retrieval-photos-fc7.json"}
    assert {path.name for path in folder.iterdir()} == published | {"notes.txt"}
    assert (folder / "history.jsonl").read_bytes() == (run.folder / "history.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("content", "stays"),
    [("{hash}", True), ("0123456789ab", False), ("not JSON", False)],
    ids=["own", "other", "damaged"],
)
def test_what_was_said_of_its_views_stays_while_its_settings_do(content, stays, searched, tmp_path):
    run, _ = searched
    report = tmp_path / "results" / tmp_path.name / "run" / "shortcuts-photos.json"
    report.parent.mkdir(parents=True)
    told = content.format(hash=run.provenance["config_hash"])
    report.write_text(told if told == "not JSON" else json.dumps({"config_hash": told}))
    publish(run, tmp_path / "results")
    assert report.exists() == stays


def test_a_run_under_way_is_not_published(tiny, tmp_path):
    run = codial.runs.create_run(tmp_path / "run", tiny, {}, "cpu")
    with pytest.raises(CodialError, match="is not finished; only whole runs are published"):
        publish(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()
