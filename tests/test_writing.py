"""Files on disks that are full, and in folders that cannot be written to."""

import os
import resource
import subprocess
import sys

import pytest
from damage import python_without_privileges

from codial import writing
from codial.errors import CodialError
from codial.writing import append_line, write_safely

pytestmark = pytest.mark.faults("full disk or closed folder")


def test_a_file_is_written_over_an_older_one(tmp_path):
    path = tmp_path / "file"
    write_safely(path, b"first")
    write_safely(path, b"second")
    assert path.read_bytes() == b"second"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_the_older_one_can_be_kept(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second", b"third"):
        write_safely(path, content, keep=tmp_path / "older")
    assert path.read_bytes() == b"third"
    assert (tmp_path / "older").read_bytes() == b"second"


def test_a_file_is_there_whole_or_as_before(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_safely(path, b"first")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(CodialError, match=r"file could not be written: No space left on device. Make room"):
        write_safely(path, b"second", keep=tmp_path / "older")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"first")]


CHILD = """
import resource, signal, sys
from pathlib import Path
from codial.writing import write_safely
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_safely(Path(sys.argv[1]), bytes(2000))
"""


def test_a_file_that_the_system_cuts_short_never_takes_the_place_of_a_whole_one(tmp_path):
    """The kernel itself refuses the second thousand bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"first")
    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True)
    assert "CodialError" in done.stderr
    assert "could not be written: File too large" in done.stderr
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"first")]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_line_on_a_full_disk_is_told_of(tmp_path):
    (tmp_path / "history").symlink_to("/dev/full")
    with pytest.raises(CodialError, match=r"history could not be written: No space left on device"):
        append_line(tmp_path / "history", "{}")


IN_A_FOLDER = """
import sys
from pathlib import Path
from codial.writing import write_safely
write_safely(Path(sys.argv[1]) / "file", b"content")
"""


def test_a_folder_that_cannot_be_written_to_is_told_of(tmp_path):
    tmp_path.chmod(0o500)
    done = python_without_privileges(IN_A_FOLDER, tmp_path)
    tmp_path.chmod(0o700)
    assert "CodialError" in done.stderr
    assert "file could not be written: Permission denied" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_told_of(tmp_path):
    for write in (lambda path: write_safely(path, b""), lambda path: append_line(path, "")):
        with pytest.raises(CodialError, match=r"could not be written: No such file or directory"):
            write(tmp_path / "gone" / "file")
