"""Pretraining: the training loop, prefetching, monitors, diagnostics and training in the background."""
