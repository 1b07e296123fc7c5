"""For the notebooks' comparison with their stored outputs (`pytest --nbval`): it looks here, not in tests/."""

import pytest

# Warnings and progress bars differ between machines; so do drawings in SVG, the numbers of widgets, and figures in
# HTML, of which the PNG is stored.
NOT_COMPARED = ("stderr", "image/svg+xml", "text/html", "application/vnd.jupyter.widget-view+json")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out of the comparison what is not a result; only nbval's collectors have `skip_compare`."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare = (*collector.skip_compare, *NOT_COMPARED)
