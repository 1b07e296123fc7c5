"""Seconds from `codial pretrain` on the command line to its first step, in a process of its own."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.clock import Measured, process_memory

REPEATS = 3


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return how often a second a run could be begun, its first line of history included."""
    begun = [_begin(device.type) for _ in range(REPEATS)]
    rates, memory = sorted(1 / seconds for seconds, _ in begun), max(taken for _, taken in begun)
    return {"to the first step": {"codial": Measured(rates[REPEATS // 2], rates[0], rates[-1], memory)}}


def _begin(device: str) -> tuple[float, float]:
    """Return the seconds to the first step, and the memory in MB that the process had taken by then."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "run" / "history.jsonl"
        options = [f"--set={option}" for option in ("train.log_every=1", "train.monitor_every=0")]
        command = [sys.executable, "-m", "codial.cli", "pretrain", "codial/photos", "--out", str(history.parent)]
        process = subprocess.Popen([*command, "--quiet", "--device", device, *options], stdout=subprocess.DEVNULL)
        while not history.exists() or not history.stat().st_size:
            if process.poll() is not None:
                raise RuntimeError(f"codial pretrain ended with {process.returncode} before its first step")
            time.sleep(0.01)
        seconds, memory = time.perf_counter() - started, process_memory(process.pid)
        process.kill()
        process.wait()
        return seconds, memory
