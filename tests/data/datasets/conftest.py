"""The official data sets, for tests that need them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codial.data.catalog import find_entry
from codial.data.registry import data_root


@pytest.fixture
def official() -> Callable[[str], Path]:
    """Return the data root (CODIAL_DATA); the test is skipped if the data set is not in it."""

    def require(name: str) -> Path:
        root = data_root()
        if not find_entry(name).status(root).startswith("present"):
            pytest.skip(f"{name} is not in {root}; set CODIAL_DATA")
        return root

    return require
