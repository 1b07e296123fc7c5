"""Measuring rates and memory."""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch

MIN_SECONDS = 1.0  # minimum length of one repeat


class Measurement(NamedTuple):
    """A rate and the memory used.

    Attributes:
        per_second: median over the repeats.
        lowest: over the repeats.
        highest: over the repeats.
        memory: peak minus start in MB, of this process and its workers; NaN where it cannot be read.
        note: additional results.
    """

    per_second: float
    lowest: float
    highest: float
    memory: float
    note: str = ""

    @classmethod
    def of(cls, rates: Iterable[float], memory: "Memory") -> "Measurement":
        """Return the measurement of repeats that were measured since `memory` was created."""
        rates = list(rates)
        return cls(statistics.median(rates), min(rates), max(rates), memory.highest)


class Memory:
    """Peak memory since this object was created, in MB above the memory at that time.

    Args:
        device: a GPU for its allocated memory; None or the CPU for the resident memory of this process and its workers.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        gc.collect()
        self.gpu = device if device is not None and device.type == "cuda" else None
        if self.gpu:
            torch.cuda.reset_peak_memory_stats(self.gpu)
            self.before = torch.cuda.memory_allocated(self.gpu) / 1e6
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
            self.before = _status("self", "VmRSS")
        except OSError:
            self.before = float("nan")

    @property
    def highest(self) -> float:
        """The peak so far; memory shared between workers and this process is counted once."""
        if self.gpu:
            return torch.cuda.max_memory_allocated(self.gpu) / 1e6 - self.before
        workers = sum(_status(str(child.pid), "RssAnon") for child in multiprocessing.active_children())
        return _status("self", "VmHWM") + workers - self.before


def process_memory(pid: int) -> float:
    """Return the peak memory of a process in MB."""
    return _status(str(pid), "VmHWM")


def _status(process: str, field: str) -> float:
    """Return a field of /proc/PROCESS/status in MB; NaN if there is none."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(field + ":")), float("nan"))


def rate(work: Callable[[], int], device: torch.device | None = None, repeats: int = 5) -> Measurement:
    """Measure the items per second of a function.

    Args:
        work: processes items and returns their number; called once as a warm-up.
        device: synchronized at both ends of a repeat if it is a GPU.
        repeats: number of repeats; each calls `work` until `MIN_SECONDS` have passed.
    """
    memory = Memory(device)
    work()
    return Measurement.of([_one_rate(work, device) for _ in range(repeats)], memory)


def _one_rate(work: Callable[[], int], device: torch.device | None) -> float:
    _synchronize(device)
    items = 0
    start = time.perf_counter()
    while time.perf_counter() - start < MIN_SECONDS:
        items += work()
    _synchronize(device)
    return items / (time.perf_counter() - start)


def _synchronize(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def calls_per_second(work: Callable[[], object], device: torch.device | None = None, repeats: int = 3) -> Measurement:
    """Measure the calls per second of a function that takes long enough to need no warm-up."""
    memory = Memory(device)
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        _synchronize(device)
        rates.append(1 / (time.perf_counter() - start))
    return Measurement.of(rates, memory)
