"""Disks that fill up, folders closed to writing, clocks set back, two at one folder: a clear message, nothing lost."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alike import assert_same_run, go, stopping_after
from damage import python_without_privileges

import codial
from codial import claims, runs
from codial.errors import CodialError

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROOM = "64m"  # more than a run takes


class Disk:
    """A small tmpfs, whose size can be changed and which can be closed to writing."""

    def __init__(self, place):
        self.place = place
        place.mkdir()

    def mount(self, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.place)]
        return subprocess.run(command, capture_output=True, text=True)

    def unmount(self):
        subprocess.run(["umount", str(self.place)], capture_output=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    tried = disk.mount(f"size={ROOM}")
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    yield disk
    disk.unmount()


def sizes_of(run):
    return {path: path.stat().st_size for path in run.folder.rglob("*") if path.is_file()}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_disk_that_is_full_at_any_moment(disk, tiny, tiny_run, few, ledger):
    """From a disk on which nothing fits to one on which all but the last page does; then room is made."""
    folder, whole = disk.place / "run", sum(sizes_of(tiny_run).values())
    sizes, stopped_at = [4096 + whole * part // 14 for part in range(14)], set()
    for size in sizes:
        disk.unmount()
        assert disk.mount(f"size={size}").returncode == 0
        with ledger.fault("full disk (tmpfs)"):
            for _ in range(2):  # the same again ends in the same way
                with pytest.raises(CodialError, match=r"could not be written: No space left on device. Make room"):
                    go(tiny, folder, few)
            if (folder / "config.json").exists():
                stopped_at.add(codial.open_run(folder).progress.get("step", 0))
            assert disk.mount("remount", f"size={ROOM}").returncode == 0
            assert_same_run(go(tiny, folder, few), tiny_run)
    assert len(stopped_at) >= 2, "the disk was always full at the same place"


@pytest.mark.parametrize("files", range(2, 9))
def test_a_disk_on_which_no_file_can_be_made(files, disk, tiny, tiny_run, few, ledger):
    disk.unmount()
    assert disk.mount(f"size={ROOM}", f"nr_inodes={files}").returncode == 0
    with ledger.fault("full disk (tmpfs)"):
        with pytest.raises(CodialError, match=r"could not be written: No space left on device"):
            go(tiny, disk.place / "run", few)
        assert disk.mount("remount", "nr_inodes=100").returncode == 0
        assert_same_run(go(tiny, disk.place / "run", few), tiny_run)


def test_a_disk_that_is_mounted_for_reading(disk, tiny, tiny_run, few, ledger):
    stopped = go(tiny, disk.place / "stopped", few, stop=stopping_after(2))
    finished = go(tiny, disk.place / "finished", few)
    before = contents(disk.place)
    assert disk.mount("remount", "ro").returncode == 0
    with ledger.fault("read-only folder"):
        for folder in (disk.place / "new", stopped.folder):
            with pytest.raises(CodialError, match=r"could not be written: Read-only file system. Make room .* or mend"):
                go(tiny, folder, few)
        with pytest.raises(CodialError, match=r"evaluations could not be written: Read-only file system"):
            codial.probe(finished, few, few, codial.ProbeConfig(epochs=1, seeds=(0,)), progress=False)
        assert_same_run(go(tiny, finished.folder, few), tiny_run)
        assert contents(disk.place) == before
        assert disk.mount("remount", "rw").returncode == 0
        assert_same_run(go(tiny, stopped.folder, few), tiny_run)


CHILD = """
import json, sys, torch, codial
from codial.config import from_dict
from codial.errors import CodialError
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)
print("ready", flush=True)
try:
    run = codial.pretrain(config, sys.argv[2], images=images, progress=False)
    print("finished", flush=True)
except CodialError as error:
    print("refused:", error, flush=True)
"""


def as_text(config):
    return json.dumps(codial.config.to_dict(config))


def test_a_folder_closed_to_writing(tiny, tiny_run, few, tmp_path, ledger):
    run = go(tiny, tmp_path / "run", few, stop=stopping_after(4))
    before, folders = contents(run.folder), (run.folder, run.folder / "checkpoints")
    with ledger.fault("read-only folder"):
        for folder in folders:
            folder.chmod(0o500)
        done = python_without_privileges(CHILD, as_text(tiny), run.folder)
        assert "refused: " in done.stdout, done.stderr
        assert "could not be written: Permission denied" in done.stdout
        assert contents(run.folder) == before
        for folder in folders:
            folder.chmod(0o700)
        assert_same_run(go(tiny, run.folder, few), tiny_run)


HELD = """
import time

def hold(line):
    if line["step"] >= int(sys.argv[3]):
        print("held", flush=True)
        time.sleep(600)
"""


def test_of_two_processes_the_second_is_refused_until_the_first_is_dead(uninterrupted, few, tmp_path, ledger):
    """The first is killed; what the second tries in the meantime is not seen in the run."""
    folder, config = tmp_path / "run", as_text(uninterrupted.config)
    held = HELD + CHILD.replace("progress=False", "progress=False, on_log=hold")
    started = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    for step in (0, 8, 16):
        with ledger.fault("two processes on one folder"):
            command = [sys.executable, "-c", f"import sys\n{held}", config, str(folder), str(step)]
            with subprocess.Popen(command, **started) as first:
                assert [first.stdout.readline() for _ in range(2)] == ["ready\n", "held\n"]
                with pytest.raises(CodialError, match=r"is being trained by someone else right now. Wait for it"):
                    go(uninterrupted.config, folder, few)
                assert first.poll() is None
                first.kill()
            with claims.claimed(folder):
                pass
    assert_same_run(go(uninterrupted.config, folder, few), uninterrupted)


class Backwards:
    """A clock that is set back by a day whenever it is looked at, and had been in 2100."""

    def __init__(self):
        self.now = datetime(2100, 1, 1, tzinfo=UTC)

    def __call__(self, *_):
        self.now -= timedelta(days=1)
        return self.now


def test_a_clock_set_back(longer, uninterrupted, few, tmp_path, monkeypatch, ledger):
    """Files from the future, in the wrong order, and a clock that runs backwards, decide nothing."""
    clock = Backwards()
    monkeypatch.setattr(time, "time", lambda: clock().timestamp())
    monkeypatch.setattr(time, "time_ns", lambda: int(clock().timestamp() * 1e9))
    monkeypatch.setattr(runs, "datetime", type("Clock", (), {"now": staticmethod(clock)}))
    folder = tmp_path / "run"
    for step in (5, 3, 4):
        with ledger.fault("clock set back"):
            run = go(longer, folder, few, stop=stopping_after(step))
            for age, path in enumerate(sorted(folder.rglob("*"), key=lambda path: path.name)):
                os.utime(path, (4e9 + age, 4e9 - 1000 * age))
            assert run.progress["step"] in (5, 8, 12)
    with ledger.fault("clock set back"):
        assert_same_run(go(longer, folder, few), uninterrupted)
    seconds = [line["seconds"] for line in codial.open_run(folder).history]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] <= seconds[-1] < 600
    assert codial.open_run(folder).provenance["started"].startswith("2099")


def test_the_mount_is_of_this_test_alone(disk):
    assert Path("/proc/mounts").read_text().count(str(disk.place)) == 1
