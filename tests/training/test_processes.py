"""The same seed gives the same run in another process, whatever its global random state and hash seed."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from comparing_runs import pretrain_quietly, without_seconds
from small_methods import small

from codial.config.registry import method_names
from codial.runs.checkpoints import read_tensors

pytestmark = [pytest.mark.numbers("seeds across processes"), pytest.mark.slow]

METHODS = [name for name in method_names() if name != "random"]
CHILD = """
import random, sys
import numpy as np, torch
torch.set_num_threads(1)
random.seed(sys.argv[2]); np.random.seed(int(sys.argv[2])); torch.manual_seed(int(sys.argv[2]))
torch.randn(int(sys.argv[2]))
sys.path[:0] = sys.argv[3:]
import codial
from test_processes import METHODS, digest
images = codial.load_images("photos", limit=320, seed=20210823).subset(24, seed=20210823)
for name in METHODS:
    print(name, digest(name, images, sys.argv[1]), flush=True)
"""


def digest(name, images, folder):
    """Train a method for two epochs, and return a hash of its history and its checkpoint."""
    config = small(name)
    train = replace(config.train, epochs=2, batch=8, log_every=1, device="cpu", precision="float32")
    run = pretrain_quietly(replace(config, train=train), Path(folder) / name, images)
    content = hashlib.sha256(json.dumps(without_seconds(run)).encode())
    for key, tensor in sorted(read_tensors(run.checkpoint()).items()):
        content.update(key.encode() + tensor.double().numpy().tobytes())
    return content.hexdigest()


def test_processes_agree_in_every_bit(few, tmp_path):
    folder = Path(__file__).parent
    environment = os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, tmp_path / "there", "1", folder, folder.parent, folder.parents[1]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    here = {name: digest(name, few, tmp_path / "here") for name in METHODS}
    there = dict(line.split() for line in process.communicate(timeout=300)[0].splitlines())
    assert there == here
    assert len(set(here.values())) == len(METHODS)
