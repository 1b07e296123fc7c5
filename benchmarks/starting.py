"""Start-up times of the command line: to the first step of training, and of answers that need no torch."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.clock import Measurement, process_memory

REPEATS = 3
RESULTS = Path(__file__).resolve().parents[1] / "results"
QUICK = {  # answers that need no torch
    "codial --help": ["--help"],
    "codial pretrain --help": ["pretrain", "--help"],
    "codial runs": ["runs", str(RESULTS)],
    "codial data list": ["data", "list"],
    "a usage error": ["pretrain", "--epochs", "5"],
    "an unknown preset": ["pretrain", "codial/foto"],
    "a folder that is not a run": ["probe", str(RESULTS)],
}
# Runs the command line, and prints the most memory in KB that the process has taken.
_PROGRAM = """
import re, sys
from pathlib import Path
from codial.cli.main import main
main(sys.argv[1:])
status = Path("/proc/self/status")
print(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1] if status.exists() else "nan")
"""


def measure(device: torch.device) -> dict[str, dict[str, Measurement]]:
    """Return how many times per second a run could be started, up to its first line of history, or an answer given."""
    first_step = _measured([_first_step(device.type) for _ in range(REPEATS)])
    answers = {name: _measured([_answer(arguments) for _ in range(REPEATS)]) for name, arguments in QUICK.items()}
    return {case: {"codial": rate} for case, rate in {"to the first step": first_step, **answers}.items()}


def _measured(repeats: Sequence[tuple[float, float]]) -> Measurement:
    """Return the rate and the memory of repeats, each given as seconds and MB."""
    rates = sorted(1 / seconds for seconds, _ in repeats)
    return Measurement(rates[len(rates) // 2], rates[0], rates[-1], max(memory for _, memory in repeats))


def _first_step(device: str) -> tuple[float, float]:
    """Return the seconds to the first step, and the memory in MB that the process had taken by then."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "run" / "history.jsonl"
        options = [f"--set={option}" for option in ("train.log_every=1", "train.monitor_every=0")]
        command = [sys.executable, "-m", "codial", "pretrain", "codial/photos", "--out", str(history.parent)]
        process = subprocess.Popen([*command, "--quiet", "--device", device, *options], stdout=subprocess.DEVNULL)
        while not history.exists() or not history.stat().st_size:
            if process.poll() is not None:
                raise RuntimeError(f"codial pretrain ended with {process.returncode} before its first step")
            time.sleep(0.01)
        seconds, memory = time.perf_counter() - started, process_memory(process.pid)
        process.kill()
        process.wait()
        return seconds, memory


def _answer(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds of a command, and the most memory in MB that it has taken."""
    started = time.perf_counter()
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return time.perf_counter() - started, float(done.stdout.splitlines()[-1]) / 1e3
