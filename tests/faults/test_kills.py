"""SIGKILL at moments that nobody chose, checkpoint writes included: what comes out is as if nothing had happened."""

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
from alike import assert_same_run, go

import codial
from codial import checkpoints, runs
from codial.config import SpotArtifactsOptions, ViewsConfig, to_dict

pytestmark = [pytest.mark.faults, pytest.mark.slow]

MOMENTS = 30
TRAINER = """
import json, os, sys, torch, codial
from codial.config import from_dict
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)
codial.sample_views(images.batch([0]), config.views, torch.Generator())  # machine code is loaded once for all
while folder := sys.stdin.readline():
    if not (child := os.fork()):
        codial.pretrain(config, folder.strip(), images=images, progress=False)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # it keeps its number, also when it has ended, until it was sent a signal
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def trainer(config):
    """Yield a function that trains in a process of its own, kills it so much later, and says if it was in time."""
    command = [sys.executable, "-c", TRAINER, json.dumps(to_dict(config))]
    environment, pipes = os.environ | {"OMP_NUM_THREADS": "1"}, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:

        def killed_after(seconds, folder):
            print(folder, file=process.stdin, flush=True)
            child = int(process.stdout.readline())
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
            print(file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code != 0

        yield killed_after
        process.stdin.close()


@pytest.fixture(scope="module", params=["codial", "spotartifacts"])
def steady(request, tiny, few, tmp_path_factory):
    """A run that writes a line at every step and a checkpoint at every epoch, and how long it takes."""
    train = replace(tiny.train, epochs=40, log_every=1, checkpoint_every=1, monitor_every=10)
    config = replace(tiny, name="steady", train=train)
    if request.param == "spotartifacts":  # has two stages
        views = ViewsConfig(size=32, primary=("turn0",))
        config = replace(config, objective=SpotArtifactsOptions(width=0.1), views=views)
    begun = time.monotonic()
    run = go(config, tmp_path_factory.mktemp("steady") / "run", few)
    return run, time.monotonic() - begun


def test_a_run_killed_at_random_moments_ends_with_the_same_numbers(steady, few, tmp_path, seed, ledger):
    """About fifteen moments for each system; each run goes on until it is killed or done."""
    whole, seconds = steady
    moments = random.Random(f"{seed} {whole.config.objective.system}")
    left = MOMENTS // 2
    with trainer(whole.config) as killed_after:
        while left:
            folder = tmp_path / str(left)
            with ExitStack() as kills:
                while not (folder / "config.json").exists() or not codial.open_run(folder).finished:
                    if not left:
                        go(whole.config, folder, few)
                    elif killed_after(moments.uniform(0, seconds / 3), folder):
                        kills.enter_context(ledger.fault("SIGKILL at a random moment"))
                        left -= 1
                assert_same_run(codial.open_run(folder), whole)


class Killed(BaseException):
    """What no handler catches."""


def test_a_run_killed_at_any_write_resumes_to_the_same_numbers(tiny, tiny_run, few, tmp_path, monkeypatch, ledger):
    """Before and in the middle of each file operation, one after another, until none is left to kill at."""
    moments = 0

    def dying_at(number, half_way):
        count = 0

        def counted(write, leave_half):
            def wrapped(*arguments, **options):
                nonlocal count
                count += 1
                if count > number:
                    if half_way:
                        leave_half(*arguments)
                    raise Killed
                write(*arguments, **options)

            return wrapped

        def half_a_file(path, data):
            path.with_name(path.name + ".part").write_bytes(data[: len(data) // 2])

        def half_a_line(folder, line):
            with (folder / "history.jsonl").open("a") as file:
                file.write(json.dumps(line)[:20])

        for module in (checkpoints, runs):
            monkeypatch.setattr(module, "write_safely", counted(module.write_safely, half_a_file))
        monkeypatch.setattr(runs, "append_line", counted(runs.append_line, half_a_line))

    for number in range(1000):
        folder, half_way = tmp_path / str(number), number % 2 == 1
        dying_at(number // 2, half_way)
        try:
            go(tiny, folder, few)
            break
        except Killed:
            moments += 1
        finally:
            monkeypatch.undo()
        with ledger.fault("killed at a write, or in its middle"):
            assert_same_run(go(tiny, folder, few), tiny_run)
    # Two files at birth, six lines of history, one `last` after the first epoch and one at the end, `best` at times.
    assert moments >= 22
