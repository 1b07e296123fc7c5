"""`codial runs` lists runs with their states."""

import shutil

import pytest

from codial.cli.main import main


def test_it_prints_states_and_best_accuracies(run, tmp_path, capsys):
    begun = tmp_path / "deep/begun"
    (begun / "checkpoints").mkdir(parents=True)
    shutil.copy(run / "config.json", begun)
    assert main(["runs", str(tmp_path)]) == 0
    head, _, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "best", "kNN", "best", "quick", "probe", "folder"]
    assert first.split("  ")[1] == "unfinished, 0 of 1 epoch"
    assert first.split()[-3:] == ["-", "-", str(begun)]
    assert second.split("  ")[1].strip() == "finished, 1 epoch, too few views (400)"
    assert second.split()[-4::3] == ["%", str(run)]


def test_damaged_runs_are_skipped_with_a_warning(run, tmp_path, capsys):
    (shutil.copytree(run, tmp_path / "bad") / "config.json").write_text('{"name": "x"}')
    assert main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert printed.err.startswith(f"codial: warning: Skipped: {tmp_path / 'bad/config.json'} ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("name", ["none", "a file"])
def test_no_run_is_a_mistake(name, tmp_path, error_of):
    (tmp_path / "a file").write_text("")
    expected = f"There is no run below {tmp_path / name}; `codial pretrain codial/photos` creates one."
    assert expected in error_of(["runs", tmp_path / name])
