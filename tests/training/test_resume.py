import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from comparing_runs import assert_same_run, pretrain_quietly, stop_after

import codial
from codial.config import to_dict
from codial.errors import CodialError

PRETRAIN = importlib.import_module("codial.training.pretrain")


# Interrupted runs


@pytest.mark.faults("run stopped or killed")
def test_a_run_stopped_at_any_step_resumes_to_the_same_numbers(longer, uninterrupted, few, tmp_path, seed):
    """Including before the first step, one step before the end, and random steps."""
    for step in (0, 17, *random.Random(seed).sample(range(1, 17), 3)):
        folder = tmp_path / str(step)
        run = pretrain_quietly(longer, folder, few, stop=stop_after(step))
        assert run.progress["step"] == step
        assert not run.finished
        assert_same_run(pretrain_quietly(longer, folder, few), uninterrupted)


@pytest.mark.faults("run stopped or killed")
def test_a_run_stopped_after_every_second_step_gets_to_the_same_numbers(longer, uninterrupted, few, tmp_path):
    for _ in range(9):
        run = pretrain_quietly(longer, tmp_path / "run", few, stop=stop_after(2))
    assert run.finished
    assert_same_run(run, uninterrupted)


def test_the_training_time_excludes_interruptions(longer, few, tmp_path):
    first = pretrain_quietly(longer, tmp_path / "run", few, stop=stop_after(6)).progress["seconds"]
    time.sleep(0.3)
    second = pretrain_quietly(longer, tmp_path / "run", few, stop=stop_after(1)).progress["seconds"]
    assert first <= second < first + 0.3 + 5
    run = pretrain_quietly(longer, tmp_path / "run", few)
    seconds = [line["seconds"] for line in run.history]
    assert seconds == sorted(seconds)


CHILD = """
import json, sys, time, torch, codial
from codial.config import from_dict
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)

def print_step(line):
    print(line["step"], flush=True)
    time.sleep(0.05)

run = codial.pretrain(config, sys.argv[2], images=images, on_log=print_step, progress=False)
print("saved" if not run.finished else "finished", run.progress["step"], flush=True)
"""


@pytest.fixture
def child(tmp_path):
    """Return a function that trains in a subprocess, which is killed at the end of the test."""
    started = []

    def start(config):
        command = [sys.executable, "-c", CHILD, json.dumps(to_dict(config)), str(tmp_path / "run")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def logged(longer, few, tmp_path_factory):
    """An uninterrupted run that writes at every step, so that interruptions often hit a write."""
    config = replace(longer, train=replace(longer.train, log_every=1, checkpoint_every=1))
    return pretrain_quietly(config, tmp_path_factory.mktemp("logged") / "run", few)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_numbers(logged, few, child, tmp_path):
    """SIGKILL at a random time."""
    process = child(logged.config)
    for _ in range(5):
        assert process.stdout.readline().strip().isdigit()
    with pytest.raises(CodialError, match="is already being trained"):
        pretrain_quietly(logged.config, tmp_path / "run", few)  # its lock ends with the process, as the last line shows
    time.sleep(random.random() * 0.5)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    stopped = codial.open_run(tmp_path / "run")
    assert not stopped.finished
    assert stopped.history, "readable after the kill"
    assert_same_run(pretrain_quietly(logged.config, tmp_path / "run", few), logged)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.slow
def test_ctrl_c_saves_and_exits_normally(logged, few, child, tmp_path):
    process = child(logged.config)
    while process.stdout.readline().strip() != "2":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    last = output.strip().splitlines()[-1].split()
    assert last[0] == "saved"
    run = codial.open_run(tmp_path / "run")
    assert 2 <= run.progress["step"] == int(last[1]) < 18
    assert_same_run(pretrain_quietly(logged.config, tmp_path / "run", few), logged)


@pytest.mark.faults("run stopped or killed")
def test_a_second_ctrl_c_raises_keyboard_interrupt(tiny, few, tmp_path):
    """The first one sets `stop`."""
    stop = threading.Event()

    def press_twice(line):
        if line["kind"] == "train":
            signal.raise_signal(signal.SIGINT)
            assert stop.is_set()
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain_quietly(tiny, tmp_path / "run", few, stop=stop, on_log=press_twice)
    assert signal.getsignal(signal.SIGINT) is before
    assert not codial.open_run(tmp_path / "run").finished


@pytest.mark.faults("run stopped or killed")
def test_a_run_in_another_thread_is_stopped_by_the_event(longer, few, tmp_path):
    stop, runs = threading.Event(), []

    def listen(line):
        if line["step"] == 4:
            stop.set()

    thread = threading.Thread(
        target=lambda: runs.append(pretrain_quietly(longer, tmp_path / "run", few, stop=stop, on_log=listen))
    )
    thread.start()
    thread.join(timeout=60)
    assert runs[0].progress["step"] == 4


# Finished runs and folders of other runs


def test_a_finished_run_is_returned_unchanged(tiny, tiny_run, few, monkeypatch):
    files = [path for path in tiny_run.folder.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    monkeypatch.setattr(PRETRAIN, "load_images", lambda *a, **k: pytest.fail("no image should be loaded"))
    for images in (few, None):
        run = codial.pretrain(tiny, tiny_run.folder, images=images, progress=False)
        assert run.finished
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


@pytest.mark.faults("config or images of another run")
def test_another_config_and_other_images_are_refused(tiny, tiny_run, few, photos):
    other = replace(tiny, train=replace(tiny.train, epochs=3))
    with pytest.raises(
        CodialError, match=r"holds a run with other settings \(train.epochs: 2 in the folder, 3 requested\)"
    ):
        pretrain_quietly(other, tiny_run.folder, few)
    with pytest.raises(CodialError, match=r"is trained on other images \(24 of photos/train, .* 320 of photos/train, "):
        pretrain_quietly(tiny, tiny_run.folder, photos["train"])


@pytest.mark.faults("config or images of another run")
def test_other_images_do_not_continue_a_stopped_run(tiny, few, photos, tmp_path):
    stop = threading.Event()
    stop.set()
    pretrain_quietly(tiny, tmp_path / "run", few, stop=stop)
    with pytest.raises(CodialError, match=r"is trained on other images"):
        pretrain_quietly(tiny, tmp_path / "run", photos["test"].subset(24))


@pytest.mark.faults("config or images of another run")
def test_a_folder_that_is_no_run_is_not_changed(tiny, few, tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(CodialError, match=r"exists and is not a run"):
        pretrain_quietly(tiny, tmp_path, few)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.faults("damaged checkpoint")
def test_a_damaged_checkpoint_does_not_restart_the_run(tiny, few, tmp_path):
    stop = threading.Event()
    stop.set()
    run = pretrain_quietly(tiny, tmp_path / "run", few, stop=stop)
    path = run.folder / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CodialError, match=r"last.safetensors is not a readable checkpoint"):
        pretrain_quietly(tiny, tmp_path / "run", few)
