import asyncio
import signal
import threading
import time
from dataclasses import replace

import pytest
from alike import assert_same_run
from panels import Screen, until, words

import codial
from codial.claims import claimed
from codial.errors import CodialError
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


def able(panel):
    return [name for name, button in panel.buttons.items() if not button.disabled]


def begun(panel):
    path = panel.folder / "history.jsonl"
    return path.exists() and len(path.read_text().splitlines()) > 1


def test_before_the_start_it_is_ready(panel):
    assert words(panel.status) == "Ready. Press start."
    assert able(panel) == ["start"]
    assert panel.figure.headlines == ["tiny: not begun"]
    assert not panel.folder.exists()


def test_buttons_start_pause_resume_and_stop(panel):
    panel.buttons["start"].click()
    assert able(panel) == ["pause", "stop"]
    until(lambda: begun(panel))
    assert words(panel.status) == "Training."
    panel.buttons["pause"].click()
    assert words(panel.status).startswith("Paused")
    assert panel.buttons["pause"].description == "resume"
    assert able(panel) == ["pause", "stop"]
    panel.buttons["pause"].click()
    assert words(panel.status) == "Training."
    panel.buttons["stop"].click()
    until(lambda: words(panel.status).startswith("Stopped at step"))
    assert able(panel) == ["start"]
    step = codial.open_run(panel.folder).progress["step"]
    assert panel.figure.headlines[-1].startswith(f"tiny: step {step:,}")
    panel.buttons["start"].click()
    until(lambda: codial.open_run(panel.folder).history[-1]["step"] > step)  # from there


def test_what_the_buttons_do_can_be_called(panel):
    panel.start()
    until(lambda: begun(panel))
    panel.pause()
    assert panel.training.state == "paused"
    panel.resume()
    assert panel.training.state == "training"
    panel.stop()
    assert panel.wait().progress["step"] > 0


def test_waiting_returns_the_finished_run_with_the_last_picture(longer, uninterrupted, few, tmp_path):
    panel = TrainingPanel(longer, tmp_path / "run", images=few, live=Screen())
    panel.show()
    panel.start()
    run = panel.wait()
    assert_same_run(run, uninterrupted)
    assert words(panel.status) == "Finished."
    assert panel.figure.headlines[-1].startswith("longer: step 18, epoch 6.0 of 6")
    panel.start()  # nothing is left to do
    assert asyncio.run(panel.until_done()).finished


def test_waiting_ends_a_pause_for_nobody_could(panel):
    panel.start()
    until(lambda: begun(panel))
    panel.pause()
    threading.Timer(0.5, panel.stop).start()
    assert panel.wait().progress["step"] > 0


def test_an_interrupt_of_a_cell_that_waits_stops_and_saves(panel):
    panel.start()
    until(lambda: begun(panel))
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    run = panel.wait()
    assert not run.finished
    assert run.progress["step"] == run.history[-1]["step"]


def test_a_cell_that_awaits_can_be_cancelled_and_lets_others_work_meanwhile(panel):
    async def cell():
        waiting = asyncio.create_task(panel.until_done())
        while not begun(panel):
            await asyncio.sleep(0.01)
        panel.buttons["pause"].click()
        await asyncio.sleep(0.3)
        assert not waiting.done()
        waiting.cancel()
        return await waiting

    panel.start()
    run = asyncio.run(cell())
    assert not run.finished
    assert words(panel.status).startswith("Stopped at step")


def test_clicking_fast_does_no_harm(panel):
    for _ in range(20):
        for name in ("start", "pause", "stop", "pause", "start", "start"):
            panel.buttons[name].click()
    panel.resume()
    panel.stop()
    until(lambda: panel.training.state in ("idle", "failed"))
    assert panel.training.error is None
    assert not codial.open_run(panel.folder).finished


def test_a_folder_deleted_while_it_trains_is_told_and_can_be_started_anew(panel, tmp_path, capfd):
    panel.start()
    until(lambda: begun(panel) and len(panel.figure.figures) > 2)
    panel.folder.rename(tmp_path / "elsewhere")
    until(lambda: "is gone" in words(panel.status) and panel.training.state == "failed")
    assert able(panel) == ["start"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(CodialError, match="could not be written"):
        panel.wait()
    panel.start()
    until(lambda: begun(panel) and words(panel.status) == "Training.")


def test_what_ends_a_training_is_told(endless, few, tiny_run, panel, tmp_path):
    other = TrainingPanel(endless, tiny_run.folder, images=few, live=Screen())
    other.show()
    other.start()
    until(lambda: "holds a run with other settings" in words(other.status))
    until(lambda: other.figure.headlines[-1].startswith("tiny: step 6"))  # what is there
    with claimed(panel.folder):
        panel.start()
        until(lambda: "is being trained by someone else" in words(panel.status))
        assert able(panel) == ["start"]
        with pytest.raises(CodialError, match="by someone else"):
            panel.wait()


def test_a_cell_that_is_run_again_has_the_same_training_in_hand(panel, endless, few):
    panel.start()
    until(lambda: begun(panel))
    second = TrainingPanel(endless, panel.folder, images=few, live=Screen())
    second.show()
    second.start()
    assert second.training is panel.training
    assert words(second.status) == "Training."
    second.stop()
    assert not second.wait().finished
    until(lambda: words(panel.status).startswith("Stopped at step"))
    other = TrainingPanel(replace(endless, seed=1), panel.folder, images=few, live=Screen())
    assert other.training is not panel.training


def test_what_is_started_while_the_end_of_the_last_training_is_drawn_is_followed(panel, monkeypatch):
    drawing, drawn = threading.Event(), threading.Event()
    panel.start()
    until(lambda: begun(panel))
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
    count = len(panel.figure.figures)
    until(lambda: len(panel.figure.figures) > count + 3)


def test_waiting_for_nothing_is_refused(panel):
    with pytest.raises(CodialError, match=r"call start\(\) first"):
        panel.wait()


def test_runs_are_laid_over_before_the_first_step(endless, few, tiny_run, tmp_path):
    panel = TrainingPanel(endless, tmp_path / "run", images=few, others=[tiny_run.folder], live=Screen())
    panel.show()
    (legend,) = panel.figure.figures[-1].legends
    assert len(legend.get_texts()) == 2


def test_other_work_is_done_meanwhile(panel):
    """The main thread is free: a cell that computes gets its answer while steps are taken."""
    panel.start()
    until(lambda: begun(panel))
    before = codial.open_run(panel.folder).history[-1]["step"]
    began = time.monotonic()
    assert sum(range(1_000_000)) == 499_999_500_000
    assert time.monotonic() - began < 5
    until(lambda: codial.open_run(panel.folder).history[-1]["step"] > before)
