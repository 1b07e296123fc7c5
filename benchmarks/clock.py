"""How long work takes, and how much memory it needs."""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch

LEAST = 1.0  # seconds that one repeat takes at least


class Measured(NamedTuple):
    """A rate, its spread and the memory it took."""

    per_second: float  # the median over the repeats
    lowest: float
    highest: float
    memory: float  # MB at the highest above the start, of this process and its workers; nan where it can't be read
    note: str = ""

    @classmethod
    def of(cls, rates: Iterable[float], memory: "Memory") -> "Measured":
        """Sum repeats up."""
        rates = list(rates)
        return cls(statistics.median(rates), min(rates), max(rates), memory.highest)


class Memory:
    """The highest memory since it was made, in MB above what there was then; a GPU's own when one is named.

    Args:
        device: a GPU, or None or the CPU for this process and its workers.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        gc.collect()
        self.gpu = device if device is not None and device.type == "cuda" else None
        if self.gpu:
            torch.cuda.reset_peak_memory_stats(self.gpu)
            self.before = torch.cuda.memory_allocated(self.gpu) / 1e6
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the highest so far is forgotten
            self.before = _status("self", "VmRSS")
        except OSError:
            self.before = float("nan")

    @property
    def highest(self) -> float:
        """Return it as it is by now; what workers share with this process is not counted twice."""
        if self.gpu:
            return torch.cuda.max_memory_allocated(self.gpu) / 1e6 - self.before
        workers = sum(_status(str(child.pid), "RssAnon") for child in multiprocessing.active_children())
        return _status("self", "VmHWM") + workers - self.before


def process_memory(pid: int) -> float:
    """Return the most memory that a process has taken so far, in MB."""
    return _status(str(pid), "VmHWM")


def _status(process: str, field: str) -> float:
    """Return a line of the kernel's account of a process, in MB."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(field + ":")), float("nan"))


def rate(work: Callable[[], int], device: torch.device | None = None, repeats: int = 5) -> Measured:
    """Measure how many things a second `work` does; it returns how many it did, and is called once to warm up.

    Each repeat calls it until `LEAST` seconds have gone by; a GPU is waited for at the ends.
    """
    memory = Memory(device)
    work()
    return Measured.of([_one_rate(work, device) for _ in range(repeats)], memory)


def _one_rate(work: Callable[[], int], device: torch.device | None) -> float:
    _wait(device)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < LEAST:
        done += work()
    _wait(device)
    return done / (time.perf_counter() - started)


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def times(work: Callable[[], object], device: torch.device | None = None, repeats: int = 3) -> Measured:
    """Measure how many times a second `work` could be done, for work that is long enough without a warm-up."""
    memory, rates = Memory(device), []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        _wait(device)
        rates.append(1 / (time.perf_counter() - started))
    return Measured.of(rates, memory)
