import os
from pathlib import Path

from codial.utils.paths import project_path

ROOT = Path(__file__).resolve().parents[2]


def test_relative_paths_lie_below_the_project_in_any_working_directory(monkeypatch, tmp_path):
    for folder in (ROOT / "tests", tmp_path):
        monkeypatch.chdir(folder)
        assert project_path("runs/photos/codial") == ROOT / "runs/photos/codial"


def test_absolute_paths_and_the_home_folder_are_kept(tmp_path):
    assert project_path(tmp_path) == tmp_path
    assert project_path("~/x") == Path(os.path.expanduser("~")) / "x"
