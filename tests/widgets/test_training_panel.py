import asyncio
import gc
import signal
import threading
from dataclasses import replace

import pytest
from comparing_runs import assert_same_run
from panels import Screen, text_of, until

import codial
from codial.errors import CodialError
from codial.runs.lock import run_lock
from codial.widgets import TrainingPanel

pytestmark = pytest.mark.usefixtures("page")


@pytest.fixture
def endless(tiny):
    return replace(tiny, train=replace(tiny.train, epochs=10_000, log_every=1, monitor_every=0))


@pytest.fixture
def panel(endless, few, tmp_path):
    panel = TrainingPanel(endless, tmp_path / "run", images=few, live=Screen())
    panel.show()
    yield panel
    panel.stop()
    panel.training.join(60)
    until(lambda: panel._watcher is None)


def enabled(panel):
    return [name for name, button in panel.buttons.items() if not button.disabled]


def has_started(panel):
    path = panel.folder / "history.jsonl"
    return path.exists() and len(path.read_text().splitlines()) > 1


def test_before_the_start_it_is_ready(panel):
    assert text_of(panel.status) == "Ready. Press start."
    assert enabled(panel) == ["start"]
    assert panel.figure.headlines == ["tiny: not started"]
    assert not panel.folder.exists()


def test_buttons_start_pause_resume_and_stop(panel):
    panel.buttons["start"].click()
    assert enabled(panel) == ["pause", "stop"]
    until(lambda: has_started(panel))
    assert text_of(panel.status) == "Training."
    panel.buttons["pause"].click()
    assert text_of(panel.status).startswith("Paused")
    assert panel.buttons["pause"].description == "resume"
    assert enabled(panel) == ["pause", "stop"]
    panel.buttons["pause"].click()
    assert text_of(panel.status) == "Training."
    panel.buttons["stop"].click()
    until(lambda: text_of(panel.status).startswith("Stopped at step"))
    assert enabled(panel) == ["start"]
    step = codial.open_run(panel.folder).progress["step"]
    assert panel.figure.headlines[-1].startswith(f"tiny: step {step:,}")
    panel.buttons["start"].click()
    until(lambda: codial.open_run(panel.folder).history[-1]["step"] > step)  # resumed from there


def test_waiting_returns_the_finished_run_and_draws_it(longer, uninterrupted, few, tmp_path):
    panel = TrainingPanel(longer, tmp_path / "run", images=few, live=Screen())
    panel.show()
    panel.start()
    run = panel.wait()
    assert_same_run(run, uninterrupted)
    assert text_of(panel.status) == "Finished."
    assert panel.figure.headlines[-1].startswith("longer: step 18, epoch 6.0 of 6")
    panel.start()  # nothing is left to do
    assert asyncio.run(panel.until_done()).finished


def test_waiting_ends_a_pause(panel):
    panel.start()
    until(lambda: has_started(panel))
    panel.pause()
    threading.Timer(0.5, panel.stop).start()
    assert panel.wait().progress["step"] > 0


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt even in a process started in the background, where a shell ignores it.

    Hypothesis has a callback of the garbage collector, which would swallow the exception if it was raised there.
    """
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
    gc.callbacks[:] = callbacks


def test_interrupting_a_waiting_cell_stops_and_saves(panel, interruptible):
    panel.start()
    until(lambda: has_started(panel))
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    run = panel.wait()
    assert not run.finished
    assert run.progress["step"] == run.history[-1]["step"]


def test_an_awaiting_cell_handles_buttons_and_can_be_cancelled(panel):
    async def cell():
        waiting = asyncio.create_task(panel.until_done())
        while not has_started(panel):
            await asyncio.sleep(0.01)
        panel.buttons["pause"].click()
        await asyncio.sleep(0.3)
        assert not waiting.done()
        waiting.cancel()
        return await waiting

    panel.start()
    run = asyncio.run(cell())
    assert not run.finished
    assert text_of(panel.status).startswith("Stopped at step")


def test_fast_clicks(panel):
    for _ in range(20):
        for name in ("start", "pause", "stop", "pause", "start", "start"):
            panel.buttons[name].click()
    panel.resume()
    panel.stop()
    until(lambda: panel.training.state in ("idle", "failed"))
    assert panel.training.error is None
    assert not codial.open_run(panel.folder).finished


def test_a_folder_deleted_during_training_shows_an_error_and_can_be_started_again(panel, tmp_path, capfd):
    panel.start()
    until(lambda: has_started(panel) and panel.figure.updates > 2)
    panel.folder.rename(tmp_path / "elsewhere")
    until(lambda: "was deleted" in text_of(panel.status) and panel.training.state == "failed")
    assert enabled(panel) == ["start"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(CodialError, match="could not be written"):
        panel.wait()
    panel.start()
    until(lambda: has_started(panel) and text_of(panel.status) == "Training.")


def test_errors_that_end_a_training_are_shown(endless, few, tiny_run, panel, tmp_path):
    other = TrainingPanel(endless, tiny_run.folder, images=few, live=Screen())
    other.show()
    other.start()
    until(lambda: "holds a run with other settings" in text_of(other.status))
    until(lambda: other.figure.headlines[-1].startswith("tiny: step 6"))  # what is there
    with run_lock(panel.folder):
        panel.start()
        until(lambda: "is already being trained" in text_of(panel.status))
        assert enabled(panel) == ["start"]
        with pytest.raises(CodialError, match="already being trained"):
            panel.wait()


def test_a_second_panel_controls_the_same_training(panel, endless, few):
    panel.start()
    until(lambda: has_started(panel))
    second = TrainingPanel(endless, panel.folder, images=few, live=Screen())
    second.show()
    second.start()
    assert second.training is panel.training
    assert text_of(second.status) == "Training."
    second.stop()
    assert not second.wait().finished
    until(lambda: text_of(panel.status).startswith("Stopped at step"))
    other = TrainingPanel(replace(endless, seed=1), panel.folder, images=few, live=Screen())
    assert other.training is not panel.training


def test_a_start_during_the_last_drawing_is_followed(panel, monkeypatch):
    drawing, drawn = threading.Event(), threading.Event()
    panel.start()
    until(lambda: has_started(panel))
    render = panel.render

    def slow():
        if panel.training.state == "idle" and not drawn.is_set():
            drawing.set()
            drawn.wait(30)
        return render()

    monkeypatch.setattr(panel, "render", slow)
    panel.training.stop()
    drawing.wait(30)  # the watcher's last drawing
    threading.Timer(0.3, drawn.set).start()
    panel.start()
    count = panel.figure.updates
    until(lambda: panel.figure.updates > count + 3)


def test_runs_are_overlaid_before_the_first_step(endless, few, tiny_run, tmp_path):
    panel = TrainingPanel(endless, tmp_path / "run", images=few, others=[tiny_run.folder], live=Screen())
    panel.show()
    (legend,) = panel.figure.last.legends
    assert len(legend.get_texts()) == 2
