"""`codial publish` copies runs without their weights."""

from codial import open_run
from codial.cli.main import main


def test_it_copies_runs_and_prints_where(run, tmp_path, capsys):
    assert main(["publish", str(run), "--out", str(tmp_path / "results")]) == 0
    copy = tmp_path / "results" / tmp_path.name / "run"
    assert capsys.readouterr().out == f"{run} -> {copy}\n"
    assert open_run(copy).config == open_run(run).config
    assert not (copy / "checkpoints").exists()


def test_a_run_without_a_history_is_published(tmp_path, tiny_settings, capsys):
    """Random weights without monitors write none."""
    folder, results = tmp_path / "photos/random", tmp_path / "results"
    settings = [*tiny_settings[:6], "--set", "train.monitor_every=0"]
    assert main(["pretrain", "random/photos", "--out", str(folder), "--quiet", "--device", "cpu", *settings]) == 0
    assert main(["publish", str(folder), "--out", str(results)]) == 0
    assert sorted(path.name for path in (results / "photos/random").iterdir()) == ["config.json", "provenance.json"]
    assert open_run(results / "photos/random").history == []
    assert main(["runs", str(results)]) == 0
    assert "random/photos" in capsys.readouterr().out


def test_an_unfinished_run_is_a_mistake(run, error_of):
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.unlink()
    assert "is not finished" in error_of(["publish", run])
