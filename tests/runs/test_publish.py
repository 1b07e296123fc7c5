"""Published copies of runs."""

import json
import shutil

import pytest

import codial
from codial.config import config_hash
from codial.errors import CodialError
from codial.runs.export import export
from codial.runs.publish import publish


@pytest.fixture
def searched(tiny_run, few, tmp_path):
    """A copy of a finished run with a retrieval report."""
    shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("evaluations"))
    run = codial.open_run(tmp_path / "run")
    return run, codial.retrieve(run, few, few, k=3, progress=False)


def test_retrieval_writes_a_report(searched, few, tiny):
    run, result = searched
    report = json.loads((run.folder / "evaluations" / "retrieval-photos-fc7.json").read_text())
    assert report == {
        "name": "tiny",
        "config_hash": config_hash(tiny),
        "precision": result.precision,
        "k": 3,
        "layer": "fc7",
        "gallery": f"photos/train 24 {few.fingerprint}",
        "queries": f"photos/train 24 {few.fingerprint}",
    }


def test_everything_but_the_weights_is_published_and_old_reports_are_removed(searched, tmp_path):
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
    ("source", "shown"),
    [("/home/me/birds", "./birds"), ("~/birds#splits", "./birds#splits"), ("hf:/home/me/birds", "hf:./birds"),
     ("photos", "photos"), ("hf:me/birds", "hf:me/birds")],
)  # fmt: skip
def test_the_path_of_a_folder_of_images_stays_at_home(source, shown, searched, tmp_path):
    run, _ = searched
    path = run.folder / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"data": settings["data"] | {"source": source}}))
    copies = publish(run, tmp_path / "results"), export(codial.open_run(run.folder), tmp_path / "weights")
    for folder in copies:
        copied = codial.open_run(folder).config
        assert copied.data.source == shown
        assert copied.train == run.config.train
        assert "/home/me" not in "".join(each.read_text() for each in folder.glob("*.*"))


@pytest.mark.parametrize(
    ("content", "kept"),
    [("{hash}", True), ("0123456789ab", False), ("not JSON", False)],
    ids=["same settings", "other settings", "damaged"],
)
def test_a_shortcut_report_is_kept_while_the_settings_are_the_same(content, kept, searched, tmp_path):
    run, _ = searched
    report = tmp_path / "results" / tmp_path.name / "run" / "shortcuts-photos.json"
    report.parent.mkdir(parents=True)
    config_hash = content.format(hash=run.provenance["config_hash"])
    report.write_text(content if content == "not JSON" else json.dumps({"config_hash": config_hash}))
    publish(run, tmp_path / "results")
    assert report.exists() == kept


def test_an_unfinished_run_is_not_published(tiny, tmp_path):
    run = codial.runs.create.create_run(tmp_path / "run", tiny, {}, "cpu")
    with pytest.raises(CodialError, match="is not finished; only finished runs can be published"):
        publish(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()
