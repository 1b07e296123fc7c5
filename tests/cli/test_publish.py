"""`codial publish` copies runs without their weights."""

from codial import open_run
from codial.cli.main import main


def test_it_copies_runs_and_prints_where(run, tmp_path, capsys):
    assert main(["publish", str(run), "--out", str(tmp_path / "results")]) == 0
    copy = tmp_path / "results" / tmp_path.name / "run"
    assert capsys.readouterr().out == f"{run} -> {copy}\n"
    assert open_run(copy).config == open_run(run).config
    assert not (copy / "checkpoints").exists()


def test_an_unfinished_run_is_a_mistake(run, error_of):
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.unlink()
    assert "is not finished" in error_of(["publish", run])
