"""The files that set a machine up: Makefile, environment.yml, .ci/run, and what nbval needs."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from codial.data import SETS

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
FILES = ("Makefile", "environment.yml", ".ci/run", "conftest.py", "pyproject.toml")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Call make as a user would, without what an outer make hands down."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def project(tmp_path):
    """A copy of the files that `make setup` reads, in a folder with a space in its name."""
    folder = tmp_path / "a project"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    return folder


def stand_in(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def stand_in_environment(folder: Path, pip: str) -> Path:
    """An environment whose Python notes the calls of pip in `calls` and answers them with `pip`."""
    body = f'case "$*" in *"pip install"*) echo "$*" >> calls; {pip};; *pip*) ;; *) exec "{sys.executable}" "$@";; esac'
    return stand_in(folder / ".venv/bin/python", body)


def test_help_is_the_default_goal_and_names_every_target(project):
    targets = re.search(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)[1].split()
    shown = make(project).stdout
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("make ")] == targets
    expected = {
        "setup",
        "notebooks",
        "test",
        "test-all",
        "test-faults",
        "test-ui",
        "lab",
        "refresh",
        "bench",
        "docs",
        "picture",
        "format",
        "clean",
        "help",
    }
    assert set(targets) == expected


def test_setup_installs_once_and_again_when_pyproject_changes(project):
    stand_in_environment(project, "echo Successfully installed codial")
    first, second = make(project, "setup"), make(project, "setup")
    assert first.returncode == second.returncode == 0, first.stderr
    assert "some GB" in first.stdout
    assert "Successfully installed" in first.stdout
    assert "Installing" not in second.stdout
    assert len((project / "calls").read_text().splitlines()) == 1
    later = (project / ".venv/.ready").stat().st_mtime + 1
    os.utime(project / "pyproject.toml", (later, later))
    make(project, "setup")
    assert len((project / "calls").read_text().splitlines()) == 2


def test_setup_leaves_no_stamp_when_the_installation_fails(project):
    stand_in_environment(project, "echo no network >&2; exit 1")
    failed = make(project, "setup")
    assert failed.returncode != 0
    assert "no network" in failed.stderr
    assert not (project / ".venv/.ready").exists()


def test_setup_takes_another_environment(project):
    stand_in_environment(project, "true")
    (project / ".venv").rename(project / "mine")
    assert make(project, "setup", "VENV=mine").returncode == 0
    assert (project / "mine/.ready").exists()
    assert not (project / ".venv").exists()


def test_setup_refuses_another_python_and_says_which(project):
    pretend = "import sys; sys.version_info = (3, 9, 18); sys.version = '3.9.18 (main)'; exec(sys.argv[2])"
    old = stand_in(project / "bin/python3.9", f'exec "{sys.executable}" -c "{pretend}" "$@"')
    refused = make(project, "setup", f"PYTHON={old}")
    assert refused.returncode != 0
    assert "codial needs Python 3.11 to 3.14" in refused.stderr
    assert "3.9.18" in refused.stderr
    assert not (project / ".venv").exists()


def test_setup_says_when_there_is_no_python(project):
    refused = make(project, "setup", "PYTHON=python3.99")
    assert refused.returncode != 0
    assert "No python3.99 here" in refused.stderr


def test_test_stops_at_the_first_failing_stage_and_names_its_exit_code(project):
    stand_in(project / ".venv/bin/python", 'case "$*" in *mypy*) exit 7;; *) exit 0;; esac')
    (project / ".venv/.ready").touch()
    shown = make(project, "test")
    assert shown.returncode != 0
    assert "format passed after" in shown.stdout
    assert "types FAILED with exit code 7" in shown.stdout
    assert "pytest" not in shown.stdout


def test_ranges_agree_between_the_files():
    yaml = pytest.importorskip("yaml")
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    *packages, pip = environment["dependencies"]
    versions = PYPROJECT["project"]["requires-python"]
    lowest, beyond = (int(number) for number in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", versions).groups())
    assert environment["name"] == PYPROJECT["project"]["name"]
    assert environment["channels"] == ["conda-forge"]
    assert packages == [f"python {versions}", "pip"]
    assert f"(3, {lowest}) <= sys.version_info[:2] <= (3, {beyond - 1})" in (PROJECT / "Makefile").read_text()
    assert pip == {"pip": ["-e .[notebooks,test]"]}


def test_extras_agree_between_the_files():
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert "EXTRAS := notebooks,test\n" in (PROJECT / "Makefile").read_text()
    assert "-e .[notebooks,test]\n" in (PROJECT / "environment.yml").read_text()
    tested = set(re.search(r"^codial\[(.+)\]$", extras["test"][0])[1].split(","))
    assert set(extras) == {"notebooks", "test", "bench", *tested}, "what has tests is installed for them"


@pytest.mark.parametrize("name", FILES)
def test_files_name_no_machine(name):
    assert not re.search(r"https?://(?!arxiv\.org/)|/(home|root|work|tmp|opt|Users)/", (PROJECT / name).read_text())


def test_ci_runs_make_test_all_and_closes_with_the_summaries(project):
    script = shutil.copy(PROJECT / ".ci/run", project / "run")
    (project / ".ci").mkdir()
    Path(script).rename(project / ".ci/run")
    stand_in(project / "bin/chromium", "true")  # or the script would install one
    lines = ["== 3 passed in 0.10s ==", "faults: 9 injected, 9 survived", "noise"]
    lines += ["==== 1 failed, 2 passed in 75.31s (0:01:15) ====", "more noise"]
    (project / "Makefile").write_text("test-all:\n" + "".join(f"\t@echo '{line}'\n" for line in lines) + "\t@exit 4\n")
    environment = os.environ | {"PATH": f"{project / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", ".ci/run"], cwd=project, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2  # make's own code for any failure
    assert done.stdout.splitlines()[-3:] == [lines[1], lines[0], lines[3]]
    assert "noise" in done.stdout


def test_ci_is_a_strict_script():
    assert (PROJECT / ".ci/run").read_text().startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in (PROJECT / ".ci/run").read_text()
    assert os.access(PROJECT / ".ci/run", os.X_OK)


def test_data_readme_names_every_set():
    assert [name for name in SETS if f"`{name}`" not in (PROJECT / "data/README.md").read_text()] == []


def test_comparison_skips_only_for_collectors_of_notebooks(request):
    hook = request.config.pluginmanager.get_plugin(str(PROJECT / "conftest.py")).pytest_collectstart
    notebook, other = SimpleNamespace(skip_compare=("image/png",)), SimpleNamespace()
    hook(notebook)
    hook(other)
    assert notebook.skip_compare[0] == "image/png"
    assert {"stderr", "image/svg+xml", "application/vnd.jupyter.widget-view+json"} < set(notebook.skip_compare)
    assert not vars(other)
