"""Counts injected and survived faults and the files tried; `make test-faults` writes them to results/faults.json.

A test marked `faults("kind")` counts as one fault of that kind; a test that injects several uses the fixture `ledger`.
tests/conftest.py registers the hooks; the workers of pytest-xdist send their counts to the main process.
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

SECONDS = 5  # time limit for reading one file
MEBIBYTES = 600  # by which reading one file may raise the peak memory of the process
MARKERS = ("faults", "numbers")


class Ledger:
    """Counts by kind of fault and file."""

    NAMES = ("faults", "files", "layouts")

    def __init__(self):
        self.faults = defaultdict(Counter)  # injected, survived
        self.files = defaultdict(Counter)  # tried, read, refused, crashes
        self.layouts = defaultdict(Counter)  # tried, read, refused, crashes, silently wrong

    def counts(self):
        """Return all counts as plain dictionaries."""
        return {name: {kind: dict(counts) for kind, counts in getattr(self, name).items()} for name in self.NAMES}

    def add(self, counts):
        """Add what `counts` of another process returned."""
        for name, kinds in counts.items():
            for kind, values in kinds.items():
                getattr(self, name)[kind].update(values)

    @contextmanager
    def fault(self, kind):
        """Count a fault; it is survived if the block ends without an error."""
        self.faults[kind]["injected"] += 1
        yield
        self.faults[kind]["survived"] += 1

    def layout(self, kind, read):
        """Count a folder as read, refused with a CodialError, silently wrong (`read` fails an assertion) or a crash."""
        counts = self.layouts[kind]
        outcome = "crashes"
        try:
            read()
            outcome = "read"
        except CodialError:
            outcome = "refused"
        except AssertionError:
            outcome = "silently wrong"
            raise
        finally:
            counts.update(("tried", outcome))
        return outcome

    def file(self, kind, read):
        """Count a file as read, refused with a CodialError, or a crash, such as too much time or memory."""
        counts = self.files[kind]
        counts["tried"] += 1
        counts["crashes"] += 1
        before = peak_memory()
        with time_limit(SECONDS):
            try:
                read()
                outcome, reason = "read", "-"
            except CodialError as error:
                outcome, reason = "refused", str(error)
        assert reason
        assert peak_memory() - before < MEBIBYTES
        counts["crashes"] -= 1
        counts[outcome] += 1
        return outcome


def peak_memory():
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def time_limit(seconds):
    """Raise a TimeoutError if the block takes longer."""

    def expired(*_):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)  # pytest-timeout uses it, too
    start = time.monotonic()
    try:
        yield
        assert time.monotonic() - start < seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture(scope="session")
def ledger(request):
    return request.config.stash[LEDGER]


def pytest_configure(config):
    config.stash[LEDGER] = Ledger()


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["ledger"] = session.config.stash[LEDGER].counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[LEDGER].add(getattr(node, "workeroutput", {}).get("ledger", {}))


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in filter(None, map(item.get_closest_marker, MARKERS)):
            item.user_properties.append((mark.name, mark.args[0] if mark.args else ""))


def pytest_terminal_summary(terminalreporter, config):
    if hasattr(config, "workerinput"):
        return  # the main process has all counts
    stats = {kind: terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "error")}
    counts = summarize(config.stash[LEDGER], stats["passed"], stats["failed"] + stats["error"])
    if not any(part["by kind"] for part in counts.values()):
        return
    terminalreporter.section("faults")
    for part in counts.values():
        for kind, values in part["by kind"].items():
            terminalreporter.write_line(f"{kind}: {join(values)}")
    terminalreporter.write_line("")
    for name, part in counts.items():
        terminalreporter.write_line(f"{name}: {join({k: v for k, v in part.items() if k != 'by kind'})}")
    if out := os.environ.get("CODIAL_FAULTS"):
        Path(out).write_text(json.dumps(counts, indent=1) + "\n")


def summarize(ledger, passed, failed):
    """Return totals and counts by kind, from the ledger and the marked tests."""
    faults = defaultdict(Counter, {kind: counts.copy() for kind, counts in ledger.faults.items()})
    numbers = defaultdict(Counter)
    for reports, names in ((passed, ("injected", "survived")), (failed, ("injected",))):
        for report in reports:
            for mark, kind in getattr(report, "user_properties", ()):  # a file that cannot be imported has none
                if mark == "faults" and kind:
                    faults[kind].update(names)
                elif mark == "numbers":
                    numbers[kind].update(("tests", "passed") if reports is passed else ("tests",))
    parts = {
        "faults": (faults, ("injected", "survived")),
        "files": (ledger.files, ("tried", "read", "refused", "crashes")),
        "layouts": (ledger.layouts, ("tried", "read", "refused", "crashes", "silently wrong")),
        "numbers": (numbers, ("tests", "passed")),
    }
    return {name: with_totals(*part) for name, part in parts.items()}


def with_totals(kinds, names):
    by_kind = {kind: {name: counts[name] for name in names} for kind, counts in sorted(kinds.items())}
    return {name: sum(counts[name] for counts in by_kind.values()) for name in names} | {"by kind": by_kind}


def join(counts):
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
