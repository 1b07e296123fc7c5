"""Helpers to train quietly, stop after a step, and compare two runs."""

import sys
import threading

import torch
from safetensors.torch import load_file

import codial
from codial.runs.metadata import read_metadata


def pretrain_quietly(config, folder, images, **options):
    return codial.pretrain(config, folder, images=images, progress=False, **options)


def without_seconds(run):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in run.history]


def assert_same_run(run, other):
    """Compare history, weights and optimizer states bit for bit; only times may differ."""
    assert without_seconds(run) == without_seconds(other)
    for name in ("last", "best"):
        path, other_path = (r.folder / "checkpoints" / f"{name}.safetensors" for r in (run, other))
        assert path.exists() == other_path.exists()
        if path.exists():
            assert_same_checkpoint(path, other_path)


def assert_same_checkpoint(path, other_path):
    tensors, others = load_file(path), load_file(other_path)
    assert tensors.keys() == others.keys()
    assert [key for key in tensors if not torch.equal(tensors[key], others[key])] == []
    metadata = [{k: v for k, v in read_metadata(p).items() if k != "seconds"} for p in (path, other_path)]
    assert metadata[0] == metadata[1]


def stop_after(step):
    """Return an event that stops a run after a number of steps: it is set from the (step + 1)-th check on.

    Only the checks between two steps count, not those within monitors.
    """
    stop = threading.Event()
    checks = 0

    def is_set():
        nonlocal checks
        checks += sys._getframe(1).f_code.co_name == "_stopped"
        return checks > step

    stop.is_set = is_set
    return stop
