"""Summaries of runs, which are read without torch."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

import codial
from codial.errors import CodialError
from codial.runs.summary import MIN_VIEWS, list_summaries, require_run, summarize


@pytest.fixture
def folder(tiny_run, tmp_path):
    return shutil.copytree(tiny_run.folder, tmp_path / "run")


def test_a_finished_run_has_the_best_values_of_its_monitors(tiny_run):
    summary = summarize(tiny_run.folder)
    assert (summary.folder, summary.name, summary.status) == (tiny_run.folder, "tiny", "finished")
    assert summary.state == "finished, 2 epochs, too few views (240)"
    assert (summary.views, summary.undertrained, summary.source) == (2 * 3 * 8 * 5, True, "photos")
    for monitor in ("knn", "probe"):
        values = [line[monitor] for line in tiny_run.history if monitor in line]
        assert summary.best[monitor] == max(values)
        assert summary.best_percent(monitor) == f"{max(values):.1f} %"


def test_only_finished_runs_of_few_views_are_undertrained(tiny_run):
    summary = summarize(tiny_run.folder)
    for changes in ({"views": MIN_VIEWS}, {"status": "unfinished"}, {"status": "published"}, {"epochs": 0}):
        assert not replace(summary, **changes).undertrained
        assert "too few" not in replace(summary, **changes).state


def test_a_run_before_its_first_checkpoint_is_unfinished(folder):
    for checkpoint in (folder / "checkpoints").iterdir():
        checkpoint.unlink()
    (folder / "history.jsonl").unlink()
    summary = summarize(folder)
    assert summary.state == "unfinished, 0 of 2 epochs"
    assert summary.best_percent("knn") == "-"


def test_a_run_without_checkpoints_is_a_published_one(folder, tmp_path):
    codial_folder = tmp_path / "published"
    codial_folder.mkdir()
    for name in ("config.json", "history.jsonl"):
        shutil.copy(folder / name, codial_folder)
    assert summarize(codial_folder).state == "published, 2 epochs"


def test_summaries_agree_with_the_opened_runs(tiny_run):
    (run,), (summary,) = codial.list_runs(tiny_run.folder), list_summaries(tiny_run.folder)
    assert summary.name == run.config.name
    assert summary.epoch == run.progress["epoch"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", json.dumps({"name": "x", "train": {"epochs": "2"}})),
        ("config.json", json.dumps({"name": "x"})),
        ("history.jsonl", '{"knn": 50.0}\n'),
        ("checkpoints/last.safetensors", "no checkpoint"),
    ],
)
def test_a_damaged_run_is_skipped_with_a_warning(file, content, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "valid")
    (folder / "checkpoints/previous.safetensors").unlink(missing_ok=True)
    (folder / file).write_text(content)
    with pytest.warns(UserWarning, match=rf"Skipped: {folder}/"):
        assert [summary.folder.name for summary in list_summaries(tmp_path)] == ["valid"]


def test_values_that_are_no_numbers_are_ignored(folder):
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"step": 99, "knn": "many"}\n')
    assert summarize(folder).best["knn"] <= 100


def test_what_is_not_a_run_is_named_with_the_runs_beside_it(folder, tmp_path):
    with pytest.raises(CodialError, match=rf"{tmp_path}/none is not a run: .* Runs beside it: {folder}\."):
        require_run(tmp_path / "none")
    with pytest.raises(CodialError, match=r"is not a run: .* `codial pretrain` creates one\."):
        require_run(tmp_path / "deep/none")


def test_no_torch_is_imported(folder):
    code = f"import sys; from codial.runs.summary import summarize; summarize({str(folder)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "codial.runs.metadata" in done.stdout.split()
    assert "torch" not in done.stdout.split()
