"""Runs killed by SIGKILL at any moment, during checkpoint writes as well, resume to the same numbers."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from comparing_runs import assert_same_run, pretrain_quietly

import codial
from codial.config import ViewsConfig, to_dict
from codial.methods.spotartifacts import SpotArtifactsConfig
from codial.runs import checkpoints, create, history
from codial.training import trainer

pytestmark = [pytest.mark.faults, pytest.mark.slow]

KILLS = 15  # for each method
TRAINER = """
import json, os, sys, torch, codial
from codial.config import from_dict
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)
codial.sample_views(images.batch([0]), config.views, torch.Generator())  # compiles the kernels before any fork
while folder := sys.stdin.readline():
    if not (child := os.fork()):
        codial.pretrain(config, folder.strip(), images=images, progress=False)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # its process id stays valid until it was sent a signal
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def trainer_process(config):
    """Yield a function that trains in a subprocess, kills it after some seconds, and returns whether it still ran."""
    command = [sys.executable, "-c", TRAINER, json.dumps(to_dict(config))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:

        def train_and_kill(seconds, folder):
            print(folder, file=process.stdin, flush=True)
            child = int(process.stdout.readline())
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
            print(file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code != 0

        try:
            yield train_and_kill
        finally:
            process.stdin.close()


@pytest.fixture(scope="module", params=["codial", "spotartifacts"])
def steady(request, tiny, few, tmp_path_factory):
    """A run with a line of history per step and a checkpoint per epoch, and how many seconds it takes."""
    train = replace(tiny.train, epochs=40, log_every=1, checkpoint_every=1, monitor_every=10)
    config = replace(tiny, name="steady", train=train)
    if request.param == "spotartifacts":  # two stages
        views = ViewsConfig(size=32, primary=("rot0",))
        config = replace(config, method=SpotArtifactsConfig(width=0.1), views=views)
    start = time.monotonic()
    run = pretrain_quietly(config, tmp_path_factory.mktemp("steady") / "run", few)
    return run, time.monotonic() - start


def test_a_run_killed_at_random_moments_ends_with_the_same_numbers(steady, few, tmp_path, seed, ledger):
    """Runs are killed and resumed until they finish; after the last kill, the last one is trained to its end."""
    expected, seconds = steady
    delays = random.Random(f"{seed} {expected.config.method.name}")
    left = KILLS
    with trainer_process(expected.config) as train_and_kill:
        while left:
            folder = tmp_path / str(left)
            with ExitStack() as kills:
                while not (folder / "config.json").exists() or not codial.open_run(folder).finished:
                    if not left:
                        pretrain_quietly(expected.config, folder, few)
                    elif train_and_kill(delays.uniform(0, seconds / 3), folder):
                        kills.enter_context(ledger.fault("SIGKILL at a random moment"))
                        left -= 1
                assert_same_run(codial.open_run(folder), expected)


class Killed(BaseException):
    """Not caught by any handler."""


def test_a_run_killed_at_any_write_resumes_to_the_same_numbers(tiny, tiny_run, few, tmp_path, monkeypatch, ledger):
    """Killed before and in the middle of each file operation, one after another, until the run finishes."""
    kills = 0

    def kill_at(number, half_way):
        count = 0

        def counted(write, write_half):
            def wrapped(*arguments, **options):
                nonlocal count
                count += 1
                if count > number:
                    if half_way:
                        write_half(*arguments)
                    raise Killed
                write(*arguments, **options)

            return wrapped

        def write_half_a_file(path, data):
            path.with_name(path.name + ".part").write_bytes(data[: len(data) // 2])

        def write_half_a_line(folder, line):
            with (folder / "history.jsonl").open("a") as file:
                file.write(json.dumps(line)[:20])

        for module in (checkpoints, create):
            monkeypatch.setattr(module, "write_atomic", counted(module.write_atomic, write_half_a_file))
        monkeypatch.setattr(trainer, "append_history", counted(history.append_history, write_half_a_line))

    for number in range(1000):
        folder, half_way = tmp_path / str(number), number % 2 == 1
        kill_at(number // 2, half_way)
        try:
            pretrain_quietly(tiny, folder, few)
            break
        except Killed:
            kills += 1
        finally:
            monkeypatch.undo()
        with ledger.fault("killed before or during a write"):
            assert_same_run(pretrain_quietly(tiny, folder, few), tiny_run)
    # At least: config and provenance, six lines of history, two last checkpoints, one best checkpoint.
    assert kills >= 22
