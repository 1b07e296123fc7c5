import pytest

from codial.widgets import display


@pytest.fixture
def page(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: shown.append(bundle))
    return shown
