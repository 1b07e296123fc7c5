import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from alike import assert_same_run
from panels import until

import codial
from codial import claims
from codial.background import Background
from codial.errors import CodialError


def lines(folder):
    path = folder / "history.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def endless(tiny):
    return replace(tiny, train=replace(tiny.train, epochs=10_000, log_every=1, monitor_every=0))


@pytest.fixture
def background(endless, few, tmp_path):
    training = Background(endless, tmp_path / "run", few)
    yield training
    training.stop()
    training.join(60)
    assert training.state in ("idle", "failed")


def test_its_numbers_are_those_of_the_foreground_however_it_is_paused_and_stopped(longer, uninterrupted, few, tmp_path):
    training = Background(longer, tmp_path / "run", few)
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


def test_a_pause_holds_between_steps_and_ends_with_resume(background):
    assert background.state == "idle"
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.pause()
    assert background.state == "paused"
    before = -1
    while before != (before := lines(background.folder)):
        time.sleep(0.5)  # the step under way ends
    time.sleep(0.5)
    assert lines(background.folder) == before
    background.resume()
    assert background.state == "training"
    until(lambda: lines(background.folder) > before)


def test_a_pause_is_no_part_of_the_seconds(background):
    began = time.monotonic()
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.pause()
    time.sleep(2)
    background.stop()
    background.join(60)
    assert codial.open_run(background.folder).progress["seconds"] < time.monotonic() - began - 1.8


def test_a_paused_run_can_be_stopped_and_is_saved(background):
    background.start()
    until(lambda: lines(background.folder) > 1)
    background.pause()
    background.stop()
    run = background.result()
    assert run.progress["step"] >= run.history[-1]["step"] > 0
    assert background.state == "idle"


def test_starting_twice_at_once_trains_once(background):
    for _ in range(5):
        threading.Thread(target=background.start).start()
    until(lambda: lines(background.folder) > 1)
    assert sum(thread.name.startswith("training") for thread in threading.enumerate()) == 1
    background.stop()
    assert background.result().progress["step"] == lines(background.folder)


@pytest.mark.filterwarnings("error")
def test_what_ends_it_is_kept_and_raised_where_one_waits(background, tmp_path, capfd):
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


def test_a_folder_that_another_trains_is_refused(background, endless, few):
    background.start()
    until(lambda: lines(background.folder) > 1)
    second = Background(endless, background.folder, few)
    second.start()
    with pytest.raises(CodialError, match="is being trained by someone else"):
        second.result()


def test_waiting_for_what_was_never_started_is_refused(background):
    background.join()
    with pytest.raises(CodialError, match=r"Nothing trains .*call start\(\) first"):
        background.result()


def test_whether_a_run_is_being_trained_can_be_asked(background):
    assert not claims.being_trained(background.folder)
    background.start()
    until(lambda: lines(background.folder) > 1)
    assert claims.being_trained(background.folder)
    background.stop()
    background.join(60)
    assert not claims.being_trained(background.folder)


@pytest.mark.slow
def test_a_process_that_ends_meanwhile_ends_well(endless, few, tmp_path):
    """As a kernel that is shut down: several times, for it may be in the middle of anything."""
    code = f"""
import sys, time, pickle
from codial.background import Background
config, images = pickle.load(open({str(tmp_path / "what")!r}, "rb"))
training = Background(config, sys.argv[1], images)
training.start()
while not (training.folder / "history.jsonl").exists():
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
print(training.state)
"""
    (tmp_path / "what").write_bytes(pickle.dumps((endless, few)))
    for place, seconds in enumerate((0, 0.1, 0.5, 1.0)):
        command = [sys.executable, "-c", code, str(tmp_path / f"run{place}"), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "training\n", "")
