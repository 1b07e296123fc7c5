"""What tests of runs share: to train quietly, to stop after a step, to compare two runs."""

import threading

import torch
from safetensors.torch import load_file

import codial
from codial.checkpoints import read_note


def go(config, folder, images, **options):
    return codial.pretrain(config, folder, images=images, progress=False, **options)


def timeless(run):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in run.history]


def assert_same_run(run, other):
    """All numbers, bit for bit: history, weights, the optimiser's state; only the clock may differ."""
    assert timeless(run) == timeless(other)
    for name in ("last", "best"):
        path, other_path = (r.folder / "checkpoints" / f"{name}.safetensors" for r in (run, other))
        assert path.exists() == other_path.exists()
        if path.exists():
            tensors, others = load_file(path), load_file(other_path)
            assert tensors.keys() == others.keys()
            assert [key for key in tensors if not torch.equal(tensors[key], others[key])] == []
            notes = [{k: v for k, v in read_note(p).items() if k != "seconds"} for p in (path, other_path)]
            assert notes[0] == notes[1]


def stopping_after(step):
    """An event that is set while the step after `step` is taken: nothing but the loop looks at it."""
    stop = threading.Event()
    taken = 0

    def is_set():
        nonlocal taken
        taken += 1
        return taken > step

    stop.is_set = is_set
    return stop
