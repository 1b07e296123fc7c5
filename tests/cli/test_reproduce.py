"""`codial reproduce` lists and makes the runs of a study; tests/experiments has what the study consists of."""

import typing
from types import SimpleNamespace

from codial.cli.main import main
from codial.cli.reproduce import Budget
from codial.experiments import sweep as sweeps
from codial.experiments.reproduce import BUDGETS


def test_list_prints_the_runs(capsys):
    assert main(["reproduce", "cifar10", "--budget", "short", "--out", "elsewhere", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "codial/short, seed 0: elsewhere/short/codial"
    assert len(set(lines)) == len(lines) > 10


def test_it_probes_and_publishes_all_runs(monkeypatch, tmp_path, capsys):
    calls = []
    result = SimpleNamespace(done=(), failed=(), remaining=(), interrupted=False)
    monkeypatch.setattr(sweeps, "sweep", lambda planned, **options: calls.append((planned, options)) or result)
    options = ["--publish", str(tmp_path), "--minutes", "9", "--quiet"]
    assert main(["reproduce", "cifar10", "--budget", "brief", *options]) == 0
    ((planned, settings),) = calls
    assert planned[0].config.name == "codial/brief"
    assert settings == {"probe": True, "publish_to": tmp_path, "root": None, "minutes": 9.0, "progress": False}
    assert capsys.readouterr().out == f"0 of {len(planned)} done.\n"


def test_the_budgets_are_those_of_the_study():
    assert set(typing.get_args(Budget)) == set(BUDGETS)


def test_another_study_is_a_mistake(error_of):
    assert "'stl10' is not" in error_of(["reproduce", "stl10"])
