"""Run folders: config, history, checkpoints, provenance, reports, lock, and export of weights."""
