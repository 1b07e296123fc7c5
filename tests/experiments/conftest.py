"""Fixtures for sweeps and opened runs."""

import importlib

import pytest


@pytest.fixture(autouse=True)
def _few_training_images(monkeypatch, few):
    """Train on a few images that are loaded once."""
    monkeypatch.setattr(importlib.import_module("codial.training.pretrain"), "load_images", lambda *_, **__: few)
