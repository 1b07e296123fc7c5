"""Signals end real commands alike: the run is saved, and the exit code is 130."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from codial import open_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")]

ENDLESS = ("train.epochs=100000", "train.monitor_every=0", "train.log_every=1", "train.checkpoint_every=100000")


def start(arguments):
    command = [sys.executable, "-m", "codial", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(process, condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_pretrain_saves(name, tmp_path, tiny_settings):
    settings = [part for setting in ENDLESS for part in ("--set", setting)]
    process = start(["pretrain", "codial/photos", "--out", tmp_path, *tiny_settings, *settings])
    wait_until(process, (tmp_path / "history.jsonl").exists)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Saved. The same command resumes" in out
    assert "Traceback" not in err
    run = open_run(tmp_path)
    assert run.progress["step"] == run.history[-1]["step"] >= 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_probe_ends_with_a_line(name, run):
    arguments = ["probe", run, "--epochs", "1000000", "--seeds", "1", "--limit", "80", "--device", "cpu"]
    process = start(arguments)
    wait_until(process, lambda: sum(psutil.Process(process.pid).cpu_times()[:2]) > 4)  # torch is loaded
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "codial: interrupted.\n")
    assert not list((run / "evaluations").glob("*.part"))
