"""Full disks, read-only folders, clocks set back, two processes on one run: a clear message, and no data lost."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from damage import python_without_privileges

import codial
from codial.errors import CodialError
from codial.runs import create, lock

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SPACE = "64m"  # more than a run needs


class Disk:
    """A small tmpfs that can be resized and mounted read-only."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    def mount(self, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    def unmount(self):
        subprocess.run(["umount", str(self.path)], capture_output=True, timeout=30)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    mounted = disk.mount(f"size={SPACE}")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    disk.unmount()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_disk_that_is_full_at_any_moment(disk, tiny, tiny_run, few, ledger):
    """From a disk on which nothing fits to one on which all but the last page fits; then space is freed."""
    folder = disk.path / "run"
    total = sum(path.stat().st_size for path in tiny_run.folder.rglob("*") if path.is_file())
    stopped_at = set()
    for size in (4096 + total * part // 14 for part in range(14)):
        disk.unmount()
        assert disk.mount(f"size={size}").returncode == 0
        with ledger.fault("full disk (tmpfs)"):
            for _ in range(2):  # the same error again
                with pytest.raises(CodialError, match=r"could not be written: No space left on device. Free"):
                    pretrain_quietly(tiny, folder, few)
            if (folder / "config.json").exists():
                stopped_at.add(codial.open_run(folder).progress.get("step", 0))
            assert disk.mount("remount", f"size={SPACE}").returncode == 0
            assert_same_run(pretrain_quietly(tiny, folder, few), tiny_run)
    assert len(stopped_at) >= 2, "the disk was always full at the same step"


@pytest.mark.parametrize("files", range(2, 9))
def test_a_disk_without_free_inodes(files, disk, tiny, tiny_run, few, ledger):
    disk.unmount()
    assert disk.mount(f"size={SPACE}", f"nr_inodes={files}").returncode == 0
    with ledger.fault("full disk (tmpfs)"):
        with pytest.raises(CodialError, match=r"could not be written: No space left on device"):
            pretrain_quietly(tiny, disk.path / "run", few)
        assert disk.mount("remount", "nr_inodes=100").returncode == 0
        assert_same_run(pretrain_quietly(tiny, disk.path / "run", few), tiny_run)


def test_a_read_only_disk(disk, tiny, tiny_run, few, ledger):
    stopped = pretrain_quietly(tiny, disk.path / "stopped", few, stop=stop_after(2))
    finished = pretrain_quietly(tiny, disk.path / "finished", few)
    before = contents(disk.path)
    assert disk.mount("remount", "ro").returncode == 0
    with ledger.fault("read-only folder"):
        for folder in (disk.path / "new", stopped.folder):
            with pytest.raises(CodialError, match=r"could not be written: Read-only file system.* or fix"):
                pretrain_quietly(tiny, folder, few)
        with pytest.raises(CodialError, match=r"evaluations could not be written: Read-only file system"):
            codial.probe(finished, few, few, codial.ProbeConfig(epochs=1, seeds=(0,)), progress=False)
        assert_same_run(pretrain_quietly(tiny, finished.folder, few), tiny_run)
        assert contents(disk.path) == before
        assert disk.mount("remount", "rw").returncode == 0
        assert_same_run(pretrain_quietly(tiny, stopped.folder, few), tiny_run)


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


def as_json(config):
    return json.dumps(codial.config.to_dict(config))


def test_a_folder_that_is_not_writable(tiny, tiny_run, few, tmp_path, ledger):
    run = pretrain_quietly(tiny, tmp_path / "run", few, stop=stop_after(4))
    before = contents(run.folder)
    folders = (run.folder, run.folder / "checkpoints")
    with ledger.fault("read-only folder"):
        for folder in folders:
            folder.chmod(0o500)
        done = python_without_privileges(CHILD, as_json(tiny), run.folder)
        assert "refused: " in done.stdout, done.stderr
        assert "could not be written: Permission denied" in done.stdout
        assert contents(run.folder) == before
        for folder in folders:
            folder.chmod(0o700)
        assert_same_run(pretrain_quietly(tiny, run.folder, few), tiny_run)


PAUSE = """
import time

def pause(line):
    if line["step"] >= int(sys.argv[3]):
        print("paused", flush=True)
        time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(uninterrupted, few, tmp_path, ledger):
    """The refused attempts of the second process leave no trace in the run."""
    folder = tmp_path / "run"
    config = as_json(uninterrupted.config)
    code = f"import sys\n{PAUSE}" + CHILD.replace("progress=False", "progress=False, on_log=pause")
    started = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    for step in (0, 8, 16):
        with ledger.fault("two processes on one folder"):
            command = [sys.executable, "-c", code, config, str(folder), str(step)]
            with subprocess.Popen(command, **started) as first:
                try:
                    assert [first.stdout.readline() for _ in range(2)] == ["ready\n", "paused\n"]
                    with pytest.raises(CodialError, match=r"is already being trained"):
                        pretrain_quietly(uninterrupted.config, folder, few)
                    assert first.poll() is None
                finally:
                    first.kill()
            with lock.run_lock(folder):
                pass
    assert_same_run(pretrain_quietly(uninterrupted.config, folder, few), uninterrupted)


class Backwards:
    """A clock that starts in 2100 and is set back by a day whenever it is read."""

    def __init__(self):
        self.now = datetime(2100, 1, 1, tzinfo=UTC)

    def __call__(self, *_):
        self.now -= timedelta(days=1)
        return self.now


def test_a_clock_set_back(longer, uninterrupted, few, tmp_path, monkeypatch, ledger):
    """Neither modification times in the future and in the wrong order nor a clock that runs backwards matter."""
    clock = Backwards()
    monkeypatch.setattr(time, "time", lambda: clock().timestamp())
    monkeypatch.setattr(time, "time_ns", lambda: int(clock().timestamp() * 1e9))
    monkeypatch.setattr(create, "datetime", type("Clock", (), {"now": staticmethod(clock)}))
    folder = tmp_path / "run"
    for step in (5, 3, 4):
        with ledger.fault("clock set back"):
            run = pretrain_quietly(longer, folder, few, stop=stop_after(step))
            for age, path in enumerate(sorted(folder.rglob("*"), key=lambda path: path.name)):
                os.utime(path, (4e9 + age, 4e9 - 1000 * age))
            assert run.progress["step"] in (5, 8, 12)
    with ledger.fault("clock set back"):
        assert_same_run(pretrain_quietly(longer, folder, few), uninterrupted)
    seconds = [line["seconds"] for line in codial.open_run(folder).history]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] <= seconds[-1] < 600
    assert codial.open_run(folder).provenance["started"].startswith("2099")


def test_every_test_has_its_own_mount(disk):
    assert Path("/proc/mounts").read_text().count(str(disk.path)) == 1
