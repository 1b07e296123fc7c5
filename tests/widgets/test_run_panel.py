import json
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from panels import Screen, text_of, until

import codial
from codial.errors import CodialError
from codial.runs.lock import run_lock
from codial.utils.paths import project_path
from codial.widgets import RunPanel, display


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of a run, for tests that damage it."""
    return codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "runs/own"))


@pytest.fixture
def panel(run, page):
    panel = RunPanel(run.folder, live=Screen())
    yield panel
    until(lambda: not watched(panel))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr("codial.widgets.run_panel._LINGER", 0.5)
    monkeypatch.setattr("codial.widgets.run_panel._PERIOD", 0.02)


def watched(panel):
    return panel._watcher is not None


def append_line(run, step):
    """Append a line to the history, as another process does."""
    line = {"kind": "train", "step": step, "epoch": 2.0, "views": 40 * step, "seconds": 1.0, "loss": 1.0, "mi_js": 0.1}
    codial.runs.history.append_history(run.folder, line)


def test_a_finished_run_is_drawn_once_and_diagnosed(panel, page, run):
    panel.show()
    assert panel.figure.headlines[0].startswith("tiny: step 6, epoch 2.0 of 2")
    assert text_of(panel.status) == "Finished."
    assert text_of(panel.diagnosis).splitlines() == codial.training.diagnostics.diagnose(run.history, run.config)
    until(lambda: not watched(panel))
    assert panel.figure.updates == 1  # nothing has changed since
    assert "run this cell" in page[0]["text/plain"]


def test_a_run_of_another_process_is_followed(panel, run):
    with run_lock(run.folder):
        panel.show()
        assert text_of(panel.status) == "Training elsewhere; the curves are updated."
        append_line(run, 8)
        until(lambda: panel.figure.headlines[-1].startswith("tiny: step 8"))
        time.sleep(0.7)  # longer than an unlocked run is watched
        append_line(run, 9)
        until(lambda: panel.figure.headlines[-1].startswith("tiny: step 9"))
        assert watched(panel)
    until(lambda: not watched(panel))
    assert text_of(panel.status) == "Finished."


def test_without_locks_a_run_is_followed_as_long_as_it_changes(panel, run, monkeypatch):
    """The clock is set by hand, since drawing may take longer than a short time of watching."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep)
    monkeypatch.setattr("codial.widgets.run_panel.time", clock)
    monkeypatch.setattr("codial.widgets.run_panel.is_training", lambda folder: False)
    monkeypatch.setattr("codial.widgets.run_panel._LINGER", 20.0)
    panel.show()
    for step in range(8, 11):
        now[0] += 15
        append_line(run, step)
        until(lambda step=step: panel.figure.headlines[-1].startswith(f"tiny: step {step}"))
    assert watched(panel)
    now[0] += 25
    until(lambda: not watched(panel))


def test_refresh_follows_a_run_that_is_resumed_later(panel, run):
    panel.show()
    until(lambda: not watched(panel))
    append_line(run, 8)
    panel.buttons["refresh"].click()
    assert panel.figure.headlines[-1].startswith("tiny: step 8")
    assert watched(panel)


def test_a_deleted_folder_shows_an_error_until_it_is_restored(panel, run, tmp_path):
    with run_lock(run.folder):
        panel.show()
        run.folder.rename(tmp_path / "elsewhere")
        until(lambda: "own was deleted; the last figure is kept." in text_of(panel.status))
        assert watched(panel)
        (tmp_path / "elsewhere").rename(run.folder)
        until(lambda: "Training elsewhere" in text_of(panel.status))
    shutil.rmtree(run.folder)
    panel.buttons["refresh"].click()
    assert "was deleted" in text_of(panel.status)
    assert panel.figure.updates == 1


def test_a_folder_that_is_not_a_run_shows_an_error_and_a_placeholder(page, tmp_path, run):
    panel = RunPanel(run.folder.parent / "none", live=Screen())
    panel.show()
    assert "none is not a run: it has no config.json. Runs beside it:" in text_of(panel.status)
    assert [text.get_text() for text in panel.figure.last.texts] == ["nothing to draw yet"]
    run.folder.rename(panel.folder)
    until(lambda: panel.figure.headlines[-1].startswith("tiny: step 6"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda folder: shutil.rmtree(folder / "checkpoints"),
            "Finished; the weights are not in this folder.",
        ),
        (lambda folder: (folder / "history.jsonl").write_text('{"kind": \n'), "history.jsonl, line 1 is damaged"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "history.jsonl").unlink(), "Finished."),
        (lambda folder: [p.write_bytes(b"x") for p in folder.glob("checkpoints/*")], "is not a readable checkpoint"),
        (lambda folder: (folder / "history.jsonl").write_text('{"kind": "<b>", "step": 1}\n'), "KeyError: 'epoch'"),
    ],
)
def test_a_damaged_run_shows_an_error(panel, run, damage, expected):
    damage(run.folder)
    panel.show()
    assert expected in text_of(panel.status)


def test_a_stopped_or_diverged_run_shows_its_step(panel, run, tiny, few):
    shutil.rmtree(run.folder)
    longer = replace(tiny, train=replace(tiny.train, epochs=4))
    taken = []
    stop = type("Stop", (), {"is_set": lambda self: len(taken) > 3})()
    codial.pretrain(longer, run.folder, images=few, stop=stop, on_log=taken.append, progress=False)
    panel.show()
    assert text_of(panel.status) == "Stopped at step 4 of 12. It is not being trained."
    (run.folder / "diverged.json").write_text(json.dumps({"step": 7}))
    panel.follow()
    assert text_of(panel.status) == "Diverged: NaN or infinite loss at step 7. It is not being trained."


def test_other_runs_are_overlaid_and_missing_ones_are_named(run, page, tmp_path):
    others = [shutil.copytree(run.folder, tmp_path / f"runs/{name}") for name in ("one", "two")]
    panel = RunPanel(run.folder, [*others, tmp_path / "runs/three"], Screen())
    panel.show()

    def names():
        legends = panel.figure.last.legends
        return [text.get_text() for text in legends[0].get_texts()] if legends else []

    assert names() == ["tiny", "tiny (runs/one)", "tiny (runs/two)"]
    assert "Left out: " in text_of(panel.diagnosis)
    assert "three is not a run" in text_of(panel.diagnosis)
    panel.overlay(others[1])
    assert names() == ["tiny", "tiny (runs/two)"]
    assert "Left out" not in text_of(panel.diagnosis)
    panel.overlays[others[0]].value = True  # as by a click
    assert names() == ["tiny", "tiny (runs/one)", "tiny (runs/two)"]
    panel.overlay()
    assert names() == []
    with pytest.raises(CodialError, match=r"four is not among the panel's other runs; expected some of: .*one, .*two"):
        panel.overlay(tmp_path / "four")
    until(lambda: not watched(panel))


def test_text_of_a_run_is_escaped_in_html(panel, run, tmp_path):
    (run.folder / "config.json").write_text("<script>")
    panel.show()
    assert "<script>" not in panel.status.value


def test_a_long_run_sends_fewer_than_1000_messages(run, page, monkeypatch):
    """Half a day with a line every quarter of a second, on a simulated clock."""
    now = [0.0]
    monkeypatch.setattr("codial.widgets.display.time.monotonic", lambda: now[0])
    monkeypatch.setattr("codial.widgets.display.png", lambda figure: b"")
    sent = []
    monkeypatch.setattr(display, "display", lambda *image, **how: sent.append(image) or _Handle(sent))
    panel = RunPanel(run.folder)
    monkeypatch.setattr(panel, "render", lambda: panel._show_diagnosis([f"Healthy: {now[0]}."]))
    panel.diagnosis.observe(sent.append, names="value")
    panel.status.observe(sent.append, names="value")
    while now[0] < 43_200:
        now[0] += 0.25 + now[0] / 300
        panel._drawn = None  # it has changed
        panel.update()
    assert 300 < len(sent) < 1000


class _Handle:
    def __init__(self, sent):
        self.update = sent.append


def test_a_run_without_checkpoint(panel, run):
    shutil.rmtree(run.folder / "checkpoints")
    (run.folder / "history.jsonl").write_text("".join((run.folder / "history.jsonl").open().readlines()[:2]))
    panel.show()
    assert text_of(panel.status) == "Started: there is no checkpoint yet. It is not being trained."


def test_names_of_similar_folders_are_unique(run, page, tmp_path):
    others = [shutil.copytree(run.folder, tmp_path / f"{name}/photos/codial") for name in ("b", "c")]
    panel = RunPanel(run.folder, others, Screen())
    panel.show()
    assert [box.description for box in panel.overlays.values()] == ["b/photos/codial", "c/photos/codial"]
    names = [text.get_text() for text in panel.figure.last.legends[0].get_texts()]
    assert names == ["tiny", "tiny (b/photos/codial)", "tiny (c/photos/codial)"]
    until(lambda: not watched(panel))


def test_a_published_run_is_finished_without_weights(page):
    panel = RunPanel(project_path("results/photos/codial"), live=Screen())
    panel.show()
    assert text_of(panel.status) == "Finished; the weights are not in this folder."
    until(lambda: not watched(panel))


def test_each_show_displays_a_new_figure(run, page, monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda *what, **how: shown.append(how) or _Handle([]))
    panel = RunPanel(run.folder)
    panel.show()
    panel.show()
    assert [how for how in shown if "display_id" in how] == [{"display_id": True}] * 2
    until(lambda: not watched(panel))
