"""Faults injected and survived, files tried: counted, told at the end, kept in results/ by `make test-faults`.

A test marked `faults("what was done")` counts as one fault of that kind; a test that injects many takes `ledger`.
"""

import json
import os
import resource
import signal
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

from codial.errors import CodialError

SECONDS, MEGABYTES = 5, 600  # for one file; that the process may grow beyond the most it ever had
MARKERS = ("faults", "numbers")


class Ledger:
    """What was tried, by kind, and what came of it."""

    def __init__(self):
        self.faults = defaultdict(Counter)  # injected, survived
        self.files = defaultdict(Counter)  # tried, read, refused, crashes

    @contextmanager
    def fault(self, kind):
        """Count a fault, survived if the block ends without an error."""
        self.faults[kind]["injected"] += 1
        yield
        self.faults[kind]["survived"] += 1

    def file(self, kind, read):
        """Count a file: read, refused with a CodialError, or else a crash; too slow or too large is one, too."""
        counts = self.files[kind]
        counts["tried"] += 1
        counts["crashes"] += 1
        before = most_memory()
        with within(SECONDS):
            try:
                read()
                what, why = "read", "-"
            except CodialError as error:
                what, why = "refused", str(error)
        assert why
        assert most_memory() - before < MEGABYTES
        counts["crashes"] -= 1
        counts[what] += 1
        return what


def most_memory():
    """The most that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def within(seconds):
    """Break off what takes longer."""

    def late(*_):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
        assert time.monotonic() - begun < seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture(scope="session")
def ledger(request):
    return request.config.stash[LEDGER]


def pytest_configure(config):
    config.stash[LEDGER] = Ledger()


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in filter(None, map(item.get_closest_marker, MARKERS)):
            item.user_properties.append((mark.name, mark.args[0] if mark.args else ""))


def pytest_terminal_summary(terminalreporter, config):
    stats = {kind: terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "error")}
    told = figures(config.stash[LEDGER], stats["passed"], stats["failed"] + stats["error"])
    if not any(part["by kind"] for part in told.values()):
        return
    terminalreporter.section("faults")
    for part in told.values():
        for kind, counts in part["by kind"].items():
            terminalreporter.write_line(f"{kind}: {listed(counts)}")
    terminalreporter.write_line("")
    for name, part in told.items():
        terminalreporter.write_line(f"{name}: {listed({k: v for k, v in part.items() if k != 'by kind'})}")
    if out := os.environ.get("CODIAL_FAULTS"):
        Path(out).write_text(json.dumps(told, indent=1) + "\n")


def figures(ledger, passed, failed):
    """Sum up what the ledger holds and what marked tests came to."""
    faults, numbers = defaultdict(Counter, {k: v.copy() for k, v in ledger.faults.items()}), defaultdict(Counter)
    for reports, names in ((passed, ("injected", "survived")), (failed, ("injected",))):
        for report in reports:
            for mark, kind in report.user_properties:
                if mark == "faults" and kind:
                    faults[kind].update(names)
                elif mark == "numbers":
                    numbers[kind].update(("tests", "passed") if reports is passed else ("tests",))
    parts = {
        "faults": (faults, ("injected", "survived")),
        "files": (ledger.files, ("tried", "read", "refused", "crashes")),
        "numbers": (numbers, ("tests", "passed")),
    }
    return {name: summed(*part) for name, part in parts.items()}


def summed(kinds, names):
    by_kind = {kind: {name: counts[name] for name in names} for kind, counts in sorted(kinds.items())}
    return {name: sum(counts[name] for counts in by_kind.values()) for name in names} | {"by kind": by_kind}


def listed(counts):
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
