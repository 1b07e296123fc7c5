"""For the notebooks' comparison with their stored outputs (`pytest --nbval`): it looks here, not in tests/."""

import os

import pytest

# Warnings and progress bars differ between machines; so do drawings in SVG, the numbers of widgets, and figures in
# HTML, of which the PNG is stored.
NOT_COMPARED = ("stderr", "image/svg+xml", "text/html", "application/vnd.jupyter.widget-view+json")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out of the comparison what is not a result; only nbval's collectors have `skip_compare`."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare = (*collector.skip_compare, *NOT_COMPARED)


# 00 trains the run that others open, and that 03 shows or trains; 07, 02, 01 and 10 keep another worker busy meanwhile.
ORDER = ("00", "07", "02", "01", "10", "09", "11", "04", "06", "05", "08", "03")


def pytest_configure(config: pytest.Config) -> None:
    """Give a kernel one thread if workers share the processors: with more, they would wait for each other."""
    if config.getoption("nbval", False) and hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort notebooks as in `ORDER`, new ones last; tests stay where they are."""
    ranks = {name: rank for rank, name in enumerate(ORDER)}
    items.sort(key=lambda item: ranks.get(item.path.name[:2], len(ORDER)) if item.path.suffix == ".ipynb" else -1)
