import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from comparing_runs import assert_same_run
from panels import until

import codial
from codial.errors import CodialError
from codial.runs import lock
from codial.training.background import BackgroundTraining


def lines(folder):
    path = folder / "history.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def endless(tiny):
    return replace(tiny, train=replace(tiny.train, epochs=10_000, log_every=1, monitor_every=0))


@pytest.fixture
def background(endless, few, tmp_path):
    training = BackgroundTraining(endless, tmp_path / "run", few)
    yield training
    training.stop()
    training.join(60)
    assert training.state in ("idle", "failed")


def test_the_results_are_those_of_the_foreground_with_a_pause_and_a_stop(longer, uninterrupted, few, tmp_path):
    training = BackgroundTraining(longer, tmp_path / "run", few)
    training.start()
    until(lambda: lines(training.folder) > 1)
    training.pause()
    time.sleep(0.1)
    training.resume()
    training.stop()
    assert not training.result().finished or lines(training.folder) == len(uninterrupted.history)
    training.start()
    assert training.result().finished
    assert_same_run(training.result(), uninterrupted)


def test_a_pause_lasts_until_resume(background):
    assert background.state == "idle"
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.pause()
    assert background.state == "paused"
    before = -1
    while before != (before := lines(background.folder)):
        time.sleep(0.5)  # the current step ends
    time.sleep(0.5)
    assert lines(background.folder) == before
    background.resume()
    assert background.state == "training"
    until(lambda: lines(background.folder) > before)


def test_the_training_time_excludes_pauses(background):
    began = time.monotonic()
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.pause()
    time.sleep(2)
    background.stop()
    background.join(60)
    assert codial.open_run(background.folder).progress["seconds"] < time.monotonic() - began - 1.8


def test_a_paused_run_can_be_stopped(background):
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.pause()
    background.stop()
    run = background.result()
    assert run.progress["step"] >= run.history[-1]["step"] > 0
    assert background.state == "idle"


def test_concurrent_starts_train_once(background):
    for _ in range(5):
        threading.Thread(target=background.start).start()
    until(lambda: lines(background.folder) > 1)
    assert sum(thread.name.startswith("training") for thread in threading.enumerate()) == 1
    background.stop()
    assert background.result().progress["step"] == lines(background.folder)


@pytest.mark.filterwarnings("error")
def test_an_error_is_kept_and_raised_by_result(background, tmp_path, capfd):
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.folder.rename(tmp_path / "elsewhere")  # at once, as a folder is not deleted
    background.join(60)
    assert background.state == "failed"
    with pytest.raises(CodialError, match="could not be written: No such file"):
        background.result()
    assert capfd.readouterr() == ("", "")
    background.start()
    until(lambda: lines(background.folder) > 1)  # from the beginning
    assert background.state == "training"


def test_a_folder_that_is_being_trained_is_refused(background, endless, few):
    background.start()
    until(lambda: lines(background.folder) > 1)
    second = BackgroundTraining(endless, background.folder, few)
    second.start()
    with pytest.raises(CodialError, match="is already being trained"):
        second.result()


def test_the_result_of_a_training_that_was_not_started_is_refused(background):
    background.join()
    with pytest.raises(CodialError, match=r"Training of .* was not started: call start\(\) first"):
        background.result()


def test_is_training(background):
    assert not lock.is_training(background.folder)
    background.start()
    until(lambda: lines(background.folder) > 1)
    assert lock.is_training(background.folder)
    background.stop()
    background.join(60)
    assert not lock.is_training(background.folder)


@pytest.mark.slow
def test_a_process_can_end_during_the_training(endless, few, tmp_path):
    """As a notebook kernel that is shut down."""
    code = f"""
import sys, time, pickle
from codial.training.background import BackgroundTraining
config, images = pickle.load(open({str(tmp_path / "arguments")!r}, "rb"))
training = BackgroundTraining(config, sys.argv[1], images)
training.start()
while not (training.folder / "history.jsonl").exists():
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
print(training.state)
"""
    (tmp_path / "arguments").write_bytes(pickle.dumps((endless, few)))
    command = [sys.executable, "-c", code, str(tmp_path / "run"), "0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "training\n", "")
