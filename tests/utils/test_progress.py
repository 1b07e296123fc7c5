"""Progress bars change in place on a terminal; a log gets a line from time to time."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import codial
from codial.utils import progress

SCRIPT = """
import sys, time
from codial.utils import progress
progress._LOG_SECONDS, progress._DELAY = float(sys.argv[1]), 0.1
end = time.monotonic() + 1.5
bar = progress.progress_bar(desc="train", total=10**9, leave=True)
while time.monotonic() < end:
    for _ in progress.progress_bar(range(20), "inner"):
        time.sleep(0.005)
        bar.update(1)
bar.close()
"""


def test_a_log_gets_few_whole_lines():
    command = [sys.executable, "-c", SCRIPT, "0.5"]
    log = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    lines = log.split("\n")
    assert "\r" not in log
    assert "\x1b" not in log
    assert lines[-1] == ""
    assert 1 <= len(lines) - 1 <= 4  # 1.5 s, a line every 0.5 s, and the last state
    assert all(re.match(r"train: +\d+%.*\d+/1000000000", line) for line in lines[:-1])


def test_a_log_of_something_quick_stays_empty():
    command = [sys.executable, "-c", SCRIPT, "30"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stderr == ""


def test_a_terminal_is_updated_in_place():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, "30"], stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert shown.count(b"\rtrain") > 5


@pytest.mark.parametrize("stream", [None, sys.__stderr__])
def test_a_hidden_bar_and_a_closed_stream_show_nothing(stream, monkeypatch):
    monkeypatch.setattr(progress.sys, "stderr", stream)
    bar = progress.progress_bar(range(3), show=stream is None)
    assert bar.disable
    assert list(bar) == [0, 1, 2]


def test_bars_of_the_package_are_made_here():
    """tqdm itself would fill logs."""
    package = Path(codial.__file__).parent
    made = [path.name for path in package.rglob("*.py") if re.search(r"\btqdm(\.auto)?\(", path.read_text())]
    assert made == ["progress.py"]
