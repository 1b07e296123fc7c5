"""Sweeps: planning, skipping, resuming, failures and evaluation."""

import os
import signal
import subprocess
import sys
import time

import pytest

from codial import open_run
from codial.errors import CodialError
from codial.experiments.sweep import SWEEPS, plan, share, sweep
from codial.methods.presets import is_preset

TINY = {
    "data.limit": 40, "views.size": 16, "model.width": 0.05, "train.epochs": 1, "train.batch": 20,
    "train.device": "cpu", "train.monitor_every": 0,
}  # fmt: skip


def planned(tmp_path, names=("codial/photos", "codial-pairs1/photos"), seeds=1, **changes):
    return plan(names, seeds, tmp_path, TINY | changes)


def sweep_quietly(todo, **options):
    lines = []
    return sweep(todo, progress=False, log=lines.append, **options), lines


def test_folders_of_patterns_and_seeds(tmp_path):
    found = plan(["codial-pairs[12]/photos", "codial-pairs1/photos"], 2, tmp_path)
    assert [str(each.folder.relative_to(tmp_path)) for each in found] == [
        "photos/codial-pairs1", "photos-seed1/codial-pairs1", "photos/codial-pairs2", "photos-seed1/codial-pairs2",
    ]  # fmt: skip
    assert [each.config.seed for each in found] == [0, 1, 0, 1]
    assert {each.config.name for each in found} == {"codial-pairs1/photos", "codial-pairs2/photos"}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_consist_of_presets(name, tmp_path):
    assert all(is_preset(f"{method}/photos") for method in SWEEPS[name])
    assert [each.config.name for each in plan([f"{name}/photos"])] == [f"{method}/photos" for method in SWEEPS[name]]


def test_changes_apply_to_all_presets_but_random_weights_stay_untrained(tmp_path):
    found = planned(tmp_path, ("codial/photos", "random/photos"), **{"train.epochs": 3, "train.lr": 0.5})
    assert [each.config.train.epochs for each in found] == [3, 0]
    assert {each.config.train.lr for each in found} == {0.5}


@pytest.mark.parametrize(
    ("names", "seeds", "changes", "message"),
    [
        (["codial/foto"], 1, {}, "There is no preset called 'codial/foto'"),
        (["table*/photos"], 1, {}, "or one of table1, table2, figure3, figure4 with a recipe"),
        (["table2"], 1, {}, "'table2' is a sweep without a recipe; expected SWEEP/RECIPE, such as table2/photos"),
        (["codial/photos"], 0, {}, "seeds is 0"),
        (["codial/photos"], 1, {"seed": 3}, "use --seeds for the number of seeds"),
        (["codial/photos"], 1, {"train.epoch": 3}, "Did you mean train.epochs"),
    ],
)
def test_errors_are_raised_before_training(names, seeds, changes, message, tmp_path):
    with pytest.raises(CodialError) as error:
        plan(names, seeds, tmp_path, changes)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("of", [1, 2, 5, 9])
def test_tasks_share_the_runs_of_a_sweep(of):
    """Each run is of one task, and no task has two more than another; more tasks than runs leave some without any."""
    planned = plan(["codial/photos", "rotnet/photos", "random/photos"], seeds=2)
    shares = [share(planned, task, of) for task in range(of)]
    assert sorted(str(each) for part in shares for each in part) == sorted(map(str, planned))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for task in (-1, of):
        with pytest.raises(CodialError, match=rf"task is {task} of {of}; .* expected 0 to {of - 1}"):
            share(planned, task, of)


def test_finished_runs_are_skipped(tmp_path):
    todo = planned(tmp_path)
    first, lines = sweep_quietly(todo)
    assert [line.split(":")[1].split(",")[0] for line in lines] == [" trained", " trained"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    second, lines = sweep_quietly(todo)
    assert [line.split(":")[1].split(",")[0] for line in lines] == [" was finished", " was finished"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [run.folder for run in second.done] == [run.folder for run in first.done] == [each.folder for each in todo]
    assert not second.interrupted


def test_a_failure_does_not_stop_other_runs(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/codial").write_text("in the way")
    found, lines = sweep_quietly(planned(tmp_path), probe=False)
    assert [run.config.name for run in found.done] == ["codial-pairs1/photos"]
    ((failed, reason),) = found.failed
    assert failed.config.name == "codial/photos"
    assert "is not a run" in reason
    assert lines[0].startswith("1/2 codial/photos, seed 0: FAILED, ")
    assert not found.interrupted


def test_unexpected_errors_do_not_stop_other_runs(tmp_path, monkeypatch):
    def broken(config, *_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("codial.experiments.sweep.pretrain", broken)
    found, _ = sweep_quietly(planned(tmp_path))
    assert [reason for _, reason in found.failed] == ["RuntimeError: out of memory"] * 2


def test_ctrl_c_stops_the_sweep(tmp_path, monkeypatch):
    todo = planned(tmp_path, ("codial/photos", "codial-pairs1/photos", "codial-pairs2/photos"))
    from codial import pretrain

    def second_is_interrupted(config, folder, **options):
        if "pairs1" in config.name:
            raise KeyboardInterrupt
        return pretrain(config, folder, **options)

    monkeypatch.setattr("codial.experiments.sweep.pretrain", second_is_interrupted)
    found, _ = sweep_quietly(todo)
    assert found.interrupted
    assert [each.config.name for each in found.remaining] == ["codial-pairs1/photos", "codial-pairs2/photos"]
    assert [run.config.name for run in found.done] == ["codial/photos"]


def test_only_missing_reports_are_evaluated(tmp_path, monkeypatch, few, photos):
    loaded = []

    def load(source, split, **_):
        loaded.append(split)
        return few if split == "train" else photos["test"].subset(16)

    todo = planned(tmp_path)
    sweep_quietly(todo)
    monkeypatch.setattr("codial.experiments.sweep.load_images", load)
    found, lines = sweep_quietly(todo, probe=True)
    assert loaded == ["train", "test"], "once for both runs"
    for run in found.done:
        made = {path.name for path in (run.folder / "evaluations").iterdir()}
        assert made == {"probe-photos.json", "retrieval-photos-fc7.json"}
    assert [line.split(": ")[1].split(", ")[:2] for line in lines] == [["was finished", "evaluated"]] * 2
    sweep_quietly(todo, probe=True)
    assert loaded == ["train", "test"]


def test_time_limit_stops_and_the_same_call_resumes(tmp_path):
    todo = planned(tmp_path)
    found, lines = sweep_quietly(todo, minutes=0.0)
    assert found.interrupted
    assert found.remaining == tuple(todo)
    assert not any("trained" in line for line in lines)
    found, _ = sweep_quietly(todo, minutes=10.0)
    assert not found.remaining
    assert all(run.finished for run in found.done)


def test_each_run_is_evaluated_and_published_before_the_next(tmp_path, monkeypatch, few, photos):
    monkeypatch.setattr(
        "codial.experiments.sweep.load_images", lambda _, split, **__: few if split == "train" else photos["test"]
    )
    todo = planned(tmp_path / "runs")
    found, lines = sweep_quietly(todo, probe=True, publish_to=tmp_path / "results")
    assert len(found.done) == 2
    for line, each in zip(lines, todo, strict=True):
        method = each.folder.name
        published = tmp_path / "results" / "photos" / method
        assert f": trained, evaluated, published in {published}, {each.folder}" in line
        assert {path.name for path in published.iterdir()} >= {"probe-photos.json", "config.json", "history.jsonl"}


@pytest.mark.slow
def test_killed_sweep_resumes(tmp_path):
    """After SIGKILL during the second run, the first is not changed, and the second resumes from its checkpoint."""
    settings = TINY | {"train.epochs": 30, "train.log_every": 1}
    command = [
        sys.executable,
        "-m",
        "codial",
        "sweep",
        "codial-pairs[12]/photos",
        "--out",
        str(tmp_path),
        "--quiet",
    ]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    second = tmp_path / "photos/codial-pairs2/checkpoints/last.safetensors"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not second.exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    first, begun = (open_run(tmp_path / f"photos/codial-pairs{n}") for n in (1, 2))
    assert first.finished
    assert not begun.finished
    assert begun.progress["epoch"] >= 1
    kept = (first.folder / "history.jsonl").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "1/2 codial-pairs1/photos, seed 0: was finished" in done.stdout
    assert "2/2 codial-pairs2/photos, seed 0: trained" in done.stdout
    assert (first.folder / "history.jsonl").read_bytes() == kept
    steps = [row["step"] for row in open_run(begun.folder).history if row["kind"] == "train"]
    assert steps == list(range(1, 61)), "each step once"
