"""Writing files on full disks and in folders that are not writable."""

import os
import resource
import subprocess
import sys

import pytest
from damage import python_without_privileges

from codial.errors import CodialError
from codial.utils import atomic_io
from codial.utils.atomic_io import append_line, write_atomic

pytestmark = pytest.mark.faults("full disk or closed folder")


def test_an_existing_file_is_overwritten(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"first")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_existing_file_can_be_kept(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second", b"third"):
        write_atomic(path, content, keep=tmp_path / "older")
    assert path.read_bytes() == b"third"
    assert (tmp_path / "older").read_bytes() == b"second"


def test_a_failed_write_leaves_the_existing_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"first")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_io.os, "fsync", full)
    with pytest.raises(CodialError, match=r"file could not be written: No space left on device. Free disk space"):
        write_atomic(path, b"second", keep=tmp_path / "older")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"first")]


CHILD = """
import resource, signal, sys
from pathlib import Path
from codial.utils.atomic_io import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_atomic(Path(sys.argv[1]), bytes(2000))
"""


def test_a_file_truncated_by_the_system_does_not_replace_the_existing_one(tmp_path):
    """The kernel refuses to write more than 1000 bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"first")
    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=60)
    assert "CodialError" in done.stderr
    assert "could not be written: File too large" in done.stderr
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"first")]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_appending_on_a_full_disk_is_reported(tmp_path):
    (tmp_path / "history").symlink_to("/dev/full")
    with pytest.raises(CodialError, match=r"history could not be written: No space left on device"):
        append_line(tmp_path / "history", "{}")


IN_A_FOLDER = """
import sys
from pathlib import Path
from codial.utils.atomic_io import write_atomic
write_atomic(Path(sys.argv[1]) / "file", b"content")
"""


def test_a_folder_that_is_not_writable_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    done = python_without_privileges(IN_A_FOLDER, tmp_path)
    tmp_path.chmod(0o700)
    assert "CodialError" in done.stderr
    assert "file could not be written: Permission denied" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [lambda path: write_atomic(path, b""), lambda path: append_line(path, "")])
def test_a_missing_folder_is_reported(write, tmp_path):
    with pytest.raises(CodialError, match=r"could not be written: No such file or directory"):
        write(tmp_path / "missing" / "file")
