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
from alike import assert_same_run, go, stopping_after

import codial
from codial.config import to_dict
from codial.errors import CodialError

LOOP = importlib.import_module("codial.pretrain")  # the module; `codial.pretrain` is its function


# Interrupted runs


@pytest.mark.faults("run stopped or killed")
def test_a_run_stopped_at_any_step_resumes_to_the_same_numbers(longer, uninterrupted, few, tmp_path, seed):
    """Within an epoch, at its end, between two lines of history, before the first step, one step before the end."""
    for step in (0, 17, *random.Random(seed).sample(range(1, 17), 3)):
        folder = tmp_path / str(step)
        run = go(longer, folder, few, stop=stopping_after(step))
        assert run.progress["step"] == step
        assert not run.finished
        assert_same_run(go(longer, folder, few), uninterrupted)


@pytest.mark.faults("run stopped or killed")
def test_a_run_stopped_after_every_second_step_gets_to_the_same_numbers(longer, uninterrupted, few, tmp_path):
    for _ in range(9):
        run = go(longer, tmp_path / "run", few, stop=stopping_after(2))
    assert run.finished
    assert_same_run(run, uninterrupted)


def test_the_clock_goes_on_where_it_stopped(longer, few, tmp_path):
    first = go(longer, tmp_path / "run", few, stop=stopping_after(6)).progress["seconds"]
    time.sleep(0.3)
    second = go(longer, tmp_path / "run", few, stop=stopping_after(1)).progress["seconds"]
    assert first <= second < first + 0.3 + 5
    whole = go(longer, tmp_path / "run", few)
    seconds = [line["seconds"] for line in whole.history]
    assert seconds == sorted(seconds)


CHILD = """
import json, sys, time, torch, codial
from codial.config import from_dict
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)

def tell(line):
    print(line["step"], flush=True)
    time.sleep(0.05)

run = codial.pretrain(config, sys.argv[2], images=images, on_log=tell, progress=False)
print("saved" if not run.finished else "finished", run.progress["step"], flush=True)
"""


@pytest.fixture
def child(tmp_path):
    """Train in a process of its own, which is ended with the test at the latest."""
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
def talkative(longer, few, tmp_path_factory):
    """An uninterrupted run that writes at every step, so that most moments are within a write."""
    config = replace(longer, train=replace(longer.train, log_every=1, checkpoint_every=1))
    return go(config, tmp_path_factory.mktemp("talkative") / "run", few)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_numbers(talkative, few, child, tmp_path):
    """SIGKILL at a moment of the clock's choosing."""
    process = child(talkative.config)
    for _ in range(5):
        assert process.stdout.readline().strip().isdigit()
    with pytest.raises(CodialError, match="is being trained by someone else"):
        go(talkative.config, tmp_path / "run", few)  # its claim ends with the process, as the last line shows
    time.sleep(random.random() * 0.5)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    stopped = codial.open_run(tmp_path / "run")
    assert not stopped.finished
    assert stopped.history, "readable after the kill"
    assert_same_run(go(talkative.config, tmp_path / "run", few), talkative)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.slow
def test_ctrl_c_saves_and_ends_well(talkative, few, child, tmp_path):
    process = child(talkative.config)
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
    assert_same_run(go(talkative.config, tmp_path / "run", few), talkative)


@pytest.mark.faults("run stopped or killed")
def test_a_second_ctrl_c_breaks_off(tiny, few, tmp_path):
    """The handler itself: the first sets `stop`, the second raises."""
    stop = threading.Event()

    def press_twice(line):
        if line["kind"] == "train":
            signal.raise_signal(signal.SIGINT)
            assert stop.is_set()
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        go(tiny, tmp_path / "run", few, stop=stop, on_log=press_twice)
    assert signal.getsignal(signal.SIGINT) is before
    assert not codial.open_run(tmp_path / "run").finished


@pytest.mark.faults("run stopped or killed")
def test_another_thread_trains_and_stops_without_signals(longer, few, tmp_path):
    stop, found = threading.Event(), []

    def listen(line):
        if line["step"] == 4:
            stop.set()

    thread = threading.Thread(target=lambda: found.append(go(longer, tmp_path / "run", few, stop=stop, on_log=listen)))
    thread.start()
    thread.join(timeout=60)
    assert found[0].progress["step"] == 4


# Finished and foreign folders


def test_a_finished_run_is_returned_untouched(tiny, tiny_run, few, monkeypatch):
    files = [path for path in tiny_run.folder.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    monkeypatch.setattr(LOOP, "load_images", lambda *a, **k: pytest.fail("no picture is needed"))
    for images in (few, None):
        run = codial.pretrain(tiny, tiny_run.folder, images=images, progress=False)
        assert run.finished
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


@pytest.mark.faults("config or pictures of another run")
def test_other_settings_and_other_pictures_are_refused(tiny, tiny_run, few, photos):
    other = replace(tiny, train=replace(tiny.train, epochs=3))
    with pytest.raises(CodialError, match=r"holds a run with other settings \(train.epochs: 2 there, 3 asked\)"):
        go(other, tiny_run.folder, few)
    with pytest.raises(CodialError, match=r"learns from other pictures \(24 of photos/train, .* 320 of photos/train, "):
        go(tiny, tiny_run.folder, photos["train"])


@pytest.mark.faults("config or pictures of another run")
def test_other_pictures_do_not_continue_a_stopped_run(tiny, few, photos, tmp_path):
    stop = threading.Event()
    stop.set()
    go(tiny, tmp_path / "run", few, stop=stop)
    with pytest.raises(CodialError, match=r"learns from other pictures"):
        go(tiny, tmp_path / "run", photos["test"].subset(24))


@pytest.mark.faults("config or pictures of another run")
def test_a_folder_that_is_no_run_stays_as_it_is(tiny, few, tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(CodialError, match=r"exists and is not a run"):
        go(tiny, tmp_path, few)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.faults("damaged checkpoint")
def test_a_damaged_checkpoint_does_not_start_the_run_anew(tiny, few, tmp_path):
    stop = threading.Event()
    stop.set()
    run = go(tiny, tmp_path / "run", few, stop=stop)
    path = run.folder / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CodialError, match=r"last.safetensors is not a readable checkpoint"):
        go(tiny, tmp_path / "run", few)
