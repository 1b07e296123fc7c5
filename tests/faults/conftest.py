"""What is counted while faults are injected, and told at the end; `make test-faults` keeps it in results/."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

LEDGER = pytest.StashKey[Counter]()


@pytest.fixture(scope="session")
def ledger(request):
    """Counts by what was tried and what came of it."""
    return request.config.stash.setdefault(LEDGER, Counter())


def pytest_terminal_summary(terminalreporter, config):
    counted = config.stash.get(LEDGER, None)
    if not counted:
        return
    terminalreporter.section("faults")
    for what, count in counted.items():
        terminalreporter.write_line(f"{count:6,} {what}")
    if out := os.environ.get("CODIAL_FAULTS"):
        passed, failed = (len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed"))
        content = dict(counted) | {"tests of faults passed": passed, "tests of faults failed": failed}
        Path(out).write_text(json.dumps(content, indent=1) + "\n")
