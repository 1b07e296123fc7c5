import json
import shutil
import time
from dataclasses import replace

import pytest
from panels import Screen, until, words

import codial
from codial.claims import claimed
from codial.errors import CodialError
from codial.parameters import project_path
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
    monkeypatch.setattr("codial.widgets.watching._LINGER", 0.5)
    monkeypatch.setattr("codial.widgets.watching._PERIOD", 0.02)


def watched(panel):
    return panel._watcher is not None


def go_on(run, step):
    """Write a line, as another process would."""
    line = {"kind": "train", "step": step, "epoch": 2.0, "views": 40 * step, "seconds": 1.0, "loss": 1.0, "mi_js": 0.1}
    codial.runs.append_line(run.folder, line)


def test_a_finished_run_is_drawn_as_it_is_and_told_in_words(panel, page, run):
    panel.show()
    assert panel.figure.headlines[0].startswith("tiny: step 6, epoch 2.0 of 2")
    assert words(panel.status) == "Finished."
    assert words(panel.words).splitlines() == codial.verdicts.verdict(run.history, run.config)
    until(lambda: not watched(panel))
    assert len(panel.figure.figures) == 1  # nothing has changed since
    assert "run this cell" in page[0]["text/plain"]


def test_what_another_process_writes_is_drawn_as_it_comes(panel, run):
    with claimed(run.folder):
        panel.show()
        assert words(panel.status) == "Followed: it is being trained elsewhere."
        go_on(run, 8)
        until(lambda: panel.figure.headlines[-1].startswith("tiny: step 8"))
        time.sleep(0.7)  # longer than it lingers without a writer
        go_on(run, 9)
        until(lambda: panel.figure.headlines[-1].startswith("tiny: step 9"))
        assert watched(panel)
    until(lambda: not watched(panel))
    assert words(panel.status) == "Finished."


def test_without_locks_it_is_followed_as_long_as_it_changes(panel, run, monkeypatch):
    monkeypatch.setattr("codial.widgets.watching.being_trained", lambda folder: False)
    monkeypatch.setattr("codial.widgets.watching._LINGER", 3.0)  # a slow machine draws for half a second
    panel.show()
    for step in range(8, 12):
        time.sleep(0.7)
        go_on(run, step)
        until(lambda step=step: panel.figure.headlines[-1].startswith(f"tiny: step {step}"))
    until(lambda: not watched(panel))


def test_look_again_follows_a_run_that_goes_on_later(panel, run):
    panel.show()
    until(lambda: not watched(panel))
    go_on(run, 8)
    panel.buttons["look again"].click()
    assert panel.figure.headlines[-1].startswith("tiny: step 8")
    assert watched(panel)


def test_a_folder_deleted_while_open_is_told_and_one_that_comes_back_is_drawn(panel, run, tmp_path):
    with claimed(run.folder):
        panel.show()
        run.folder.rename(tmp_path / "elsewhere")
        until(lambda: "own is gone; the last picture of it stays." in words(panel.status))
        assert watched(panel)
        (tmp_path / "elsewhere").rename(run.folder)
        until(lambda: "Followed" in words(panel.status))
    shutil.rmtree(run.folder)
    panel.buttons["look again"].click()
    assert "is gone" in words(panel.status)
    assert len(panel.figure.figures) == 1


def test_a_folder_that_is_no_run_is_told_and_leaves_a_place_for_the_picture(page, tmp_path, run):
    panel = RunPanel(run.folder.parent / "none", live=Screen())
    panel.show()
    assert "none is not a run: it has no config.json. Runs beside it:" in words(panel.status)
    assert [text.get_text() for text in panel.figure.figures[0].texts] == ["nothing to draw yet"]
    run.folder.rename(panel.folder)
    until(lambda: panel.figure.headlines[-1].startswith("tiny: step 6"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda folder: shutil.rmtree(folder / "checkpoints"),
            "Trained; its weights are not here.",
        ),
        (lambda folder: (folder / "history.jsonl").write_text('{"kind": \n'), "history.jsonl, line 1 is damaged"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "history.jsonl").unlink(), "Finished."),
        (lambda folder: [p.write_bytes(b"x") for p in folder.glob("checkpoints/*")], "is not a readable checkpoint"),
        (lambda folder: (folder / "history.jsonl").write_text('{"kind": "<b>", "step": 1}\n'), "KeyError: 'epoch'"),
    ],
)
def test_a_damaged_run_is_told_of(panel, run, damage, expected):
    damage(run.folder)
    panel.show()
    assert expected in words(panel.status)


def test_a_run_that_was_stopped_or_broken_says_where(panel, run, tiny, few):
    shutil.rmtree(run.folder)
    longer = replace(tiny, train=replace(tiny.train, epochs=4))
    taken = []
    stop = type("Stop", (), {"is_set": lambda self: len(taken) > 3})()
    codial.pretrain(longer, run.folder, images=few, stop=stop, on_log=taken.append, progress=False)
    panel.show()
    assert words(panel.status) == "Stopped at step 4 of 12. Nobody trains it now."
    (run.folder / "diverged.json").write_text(json.dumps({"step": 7}))
    panel.follow()
    assert words(panel.status) == "Broken: its loss was no number at step 7. Nobody trains it now."


def test_other_runs_are_laid_over_and_one_that_is_missing_is_named(run, page, tmp_path):
    others = [shutil.copytree(run.folder, tmp_path / f"runs/{name}") for name in ("one", "two")]
    panel = RunPanel(run.folder, [*others, tmp_path / "runs/three"], Screen())
    panel.show()

    def names():
        legends = panel.figure.figures[-1].legends
        return [text.get_text() for text in legends[0].get_texts()] if legends else []

    assert names() == ["tiny", "tiny (runs/one)", "tiny (runs/two)"]
    assert "Left out: " in words(panel.words)
    assert "three is not a run" in words(panel.words)
    panel.overlay(others[1])
    assert names() == ["tiny", "tiny (runs/two)"]
    assert "Left out" not in words(panel.words)
    panel.laid[others[0]].value = True  # by hand
    assert names() == ["tiny", "tiny (runs/one)", "tiny (runs/two)"]
    panel.overlay()
    assert names() == []
    with pytest.raises(CodialError, match=r"four is not among the panel's other runs; it has .*one, .*two"):
        panel.overlay(tmp_path / "four")
    until(lambda: not watched(panel))


def test_words_of_a_run_are_no_markup(panel, run, tmp_path):
    (run.folder / "config.json").write_text("<script>")
    panel.show()
    assert "<script>" not in panel.status.value


def test_a_long_run_sends_fewer_than_a_thousand_messages(run, page, monkeypatch):
    """Half a day of a line every quarter of a second, on a clock that jumps."""
    now = [0.0]
    monkeypatch.setattr("codial.widgets.display.time.monotonic", lambda: now[0])
    monkeypatch.setattr("codial.widgets.display.png", lambda figure: b"")
    sent = []
    monkeypatch.setattr(display, "display", lambda *picture, **how: sent.append(picture) or _Handle(sent))
    panel = RunPanel(run.folder)
    monkeypatch.setattr(panel, "render", lambda: panel._say([f"Healthy: {now[0]}."]))
    panel.words.observe(sent.append, names="value")
    panel.status.observe(sent.append, names="value")
    while now[0] < 43_200:
        now[0] += 0.25 + now[0] / 1000
        panel._drawn = None  # it has gone on
        panel.update()
    assert 300 < len(sent) < 1000


class _Handle:
    def __init__(self, sent):
        self.update = sent.append


def test_a_run_that_has_begun_is_told(panel, run):
    shutil.rmtree(run.folder / "checkpoints")
    (run.folder / "history.jsonl").write_text("".join((run.folder / "history.jsonl").open().readlines()[:2]))
    panel.show()
    assert words(panel.status) == "Begun: it has no checkpoint yet. Nobody trains it now."


def test_runs_whose_folders_end_alike_are_told_apart(run, page, tmp_path):
    others = [shutil.copytree(run.folder, tmp_path / f"{name}/photos/codial") for name in ("b", "c")]
    panel = RunPanel(run.folder, others, Screen())
    panel.show()
    assert [box.description for box in panel.laid.values()] == ["b/photos/codial", "c/photos/codial"]
    names = [text.get_text() for text in panel.figure.figures[-1].legends[0].get_texts()]
    assert names == ["tiny", "tiny (b/photos/codial)", "tiny (c/photos/codial)"]
    until(lambda: not watched(panel))


def test_a_published_run_is_whole_though_its_weights_are_not_there(page):
    panel = RunPanel(project_path("results/photos/codial"), live=Screen())
    panel.show()
    assert words(panel.status) == "Trained; its weights are not here."
    until(lambda: not watched(panel))


def test_shown_again_the_figure_is_drawn_under_the_new_cell(run, page, monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda *what, **how: shown.append(how) or _Handle([]))
    panel = RunPanel(run.folder)
    panel.show()
    panel.show()
    assert [how for how in shown if "display_id" in how] == [{"display_id": True}] * 2
    until(lambda: not watched(panel))
