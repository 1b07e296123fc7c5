"""The same seed in another process gives the same numbers, whatever that process has drawn or hashed before."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from alike import go, timeless
from systems import small

from codial.checkpoints import read_tensors

pytestmark = [pytest.mark.numbers("seeds across processes"), pytest.mark.slow]

SYSTEMS = ("codial", "decouple", "deepcluster", "cmc", "globstat", "knowtrans", "spotartifacts", "rotnet", "supervised")
CHILD = """
import random, sys
import numpy as np, torch
torch.set_num_threads(1)
random.seed(sys.argv[2]); np.random.seed(int(sys.argv[2])); torch.manual_seed(int(sys.argv[2]))
torch.randn(int(sys.argv[2]))
sys.path[:0] = [sys.argv[3], sys.argv[4]]
import codial
from test_processes import SYSTEMS, digest
images = codial.load_images("photos", limit=320, seed=20210823).subset(24, seed=20210823)
for name in SYSTEMS:
    print(name, digest(name, images, sys.argv[1]), flush=True)
"""


def digest(name, images, folder):
    """Train a system in two epochs, and return a hash of its history and of all its checkpoint's tensors."""
    config = small(name)
    train = replace(config.train, epochs=2, batch=8, log_every=1, device="cpu", precision="float32")
    run = go(replace(config, train=train), Path(folder) / name, images)
    found = hashlib.sha256(json.dumps(timeless(run)).encode())
    for key, tensor in sorted(read_tensors(run.checkpoint()).items()):
        found.update(key.encode() + tensor.double().numpy().tobytes())
    return found.hexdigest()


def test_processes_agree_in_every_bit(few, tmp_path):
    tests = Path(__file__).parent
    started = []
    for seed in (1, 2):
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", CHILD, tmp_path / str(seed), str(seed), tests, tests.parent]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
    said = [dict(line.split() for line in process.communicate(timeout=300)[0].splitlines()) for process in started]
    here = {name: digest(name, few, tmp_path / "here") for name in SYSTEMS}
    assert said == [here, here]
    assert len(set(here.values())) == len(SYSTEMS)
