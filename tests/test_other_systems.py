"""codial on a system that lacks what Windows lacks: imitated here by taking it away before the import."""

import subprocess
import sys

import pytest

CHILD = """
import os, signal, sys
import filelock, numba, psutil, torch, torchvision  # which look at the system's name instead
for module, names in {
    os: ("fork", "register_at_fork", "sched_getaffinity"),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"),
}.items():
    for name in names:
        delattr(module, name)
sys.modules |= dict.fromkeys(("fcntl", "resource", "termios", "pwd", "grp"))  # cannot be imported
from codial.cli.main import main
from codial.utils.signals import STOP_SIGNALS
assert STOP_SIGNALS == (signal.SIGINT, signal.SIGTERM), STOP_SIGNALS
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_is_trained_without_fork_fcntl_and_posix_signals(tmp_path):
    settings = ("data.limit=40", "views.size=16", "model.width=0.05", "train.epochs=1", "train.batch=20")
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-c", CHILD, "pretrain", "rotnet/photos", "--out", str(tmp_path / "run"), *options]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert "finished, 1 epoch" in done.stdout
    assert "Traceback" not in done.stderr
