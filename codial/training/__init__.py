"""Pretraining: the training loop, prefetching, monitors, diagnostics, loggers and training in the background."""

from codial.training.loggers.base import Logger, register_logger

__all__ = ["Logger", "register_logger"]
