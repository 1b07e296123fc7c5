"""One process trains a run: the lock on its folder."""

import errno
import subprocess
import sys

import pytest

from codial.errors import CodialError
from codial.runs import lock
from codial.runs.lock import is_training, run_lock


@pytest.mark.faults("two processes on one folder")
def test_a_locked_folder_is_refused_until_it_is_released(tmp_path):
    with run_lock(tmp_path / "run"):
        with pytest.raises(CodialError, match=r"run is already being trained"), run_lock(tmp_path / "run"):
            pass
        with run_lock(tmp_path / "another"):
            pass
    with run_lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize("name", ["file", "thesis"])
def test_what_is_not_a_run_is_not_locked(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(CodialError, match=f"{name} exists and is not a run; use a new folder"),
        run_lock(tmp_path / name),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_whether_a_run_is_training_can_be_asked_without_disturbing_it(tmp_path):
    folder = tmp_path / "run"
    assert not is_training(folder)
    assert not folder.exists()
    with run_lock(folder):
        assert is_training(folder)
        assert is_training(folder)
    assert not is_training(folder)


def test_a_run_that_may_only_be_read_can_be_asked(tmp_path):
    with run_lock(tmp_path):
        (tmp_path / lock.LOCK).chmod(0o400)
        assert is_training(tmp_path)


CHILD = """
import sys
from codial.runs.lock import run_lock
with run_lock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.faults("two processes on one folder")
def test_the_lock_of_a_killed_process_is_released(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "locked\n"
            assert is_training(tmp_path / "run")
        finally:
            child.kill()
    assert not is_training(tmp_path / "run")
    with run_lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_only_warns(code, tmp_path, monkeypatch):
    def refuse(handle, blocking):
        raise OSError(code, "No locks available")

    monkeypatch.setattr(lock, "lock_descriptor", refuse)
    warning = pytest.warns(UserWarning, match="without locks .*: nothing prevents a second process")
    with warning, run_lock(tmp_path / "run"), run_lock(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
        assert not is_training(tmp_path / "run")
