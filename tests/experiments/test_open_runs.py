"""Opening runs by their folders, and training missing ones."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from codial import override, preset, pretrain
from codial.errors import CodialError
from codial.experiments import open_runs
from codial.methods.presets import heads
from codial.runs.lock import run_lock

TINY = {
    "data.limit": 40, "views.size": 16, "model.width": 0.05, "train.epochs": 1, "train.batch": 20,
    "train.device": "cpu", "train.monitor_every": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """Make the presets of `open_or_pretrain` tiny."""
    monkeypatch.setattr(open_runs, "preset", tiny_preset)


def tiny_preset(name):
    config = preset(name)
    return override(config, TINY | {"train.epochs": min(1, config.train.epochs)})


def test_missing_runs_are_trained_with_the_preset_of_their_folder(tmp_path):
    folders = [tmp_path / "photos/random", tmp_path / "photos/codial"]
    runs = open_runs.open_or_pretrain(f"{folders[0]}, {folders[1]}")
    assert list(runs) == ["random/photos", "codial/photos"]
    assert [run.folder for run in runs.values()] == folders
    assert all(run.finished for run in runs.values())


def test_a_run_that_is_being_trained_is_waited_for(tmp_path):
    folder = tmp_path / "photos/random"
    pretrain(tiny_preset("random/photos"), folder, progress=False)
    with ThreadPoolExecutor(1) as pool:
        with run_lock(folder):
            opening = pool.submit(open_runs.open_or_pretrain, str(folder))
            with pytest.raises(TimeoutError):
                opening.result(timeout=1.5)
        assert list(opening.result(timeout=60)) == ["random/photos"]


def test_existing_runs_are_opened(tmp_path):
    config = override(tiny_preset("random/photos"), {"seed": 7, "name": "mine"})
    pretrain(config, tmp_path / "photos/codial", progress=False)
    (run,) = open_runs.open_or_pretrain(str(tmp_path / "photos/codial")).values()
    assert run.config == config


def test_runs_of_equal_names_are_named_by_folder(tmp_path):
    for name in ("a", "b"):
        pretrain(tiny_preset("random/photos"), tmp_path / name, progress=False)
    runs = open_runs.open_or_pretrain(f"{tmp_path / 'a'},{tmp_path / 'b'},")
    assert list(runs) == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_folder_without_a_preset_raises(tmp_path):
    with pytest.raises(
        CodialError, match=r"'mine/photos' is not a preset\. Train it with `codial pretrain PRESET --out"
    ):
        open_runs.open_or_pretrain(str(tmp_path / "photos/mine"))


@pytest.mark.parametrize("folders", ["", " , "])
def test_no_folders_raise(folders):
    with pytest.raises(CodialError, match="expected folders separated by commas"):
        open_runs.open_or_pretrain(folders)


def test_published_runs_are_in_the_order_of_presets():
    runs = [(run.config.name.split("/")[0], run.config.seed) for run in open_runs.open_published("results/photos*/*")]
    order = list(heads())
    assert runs[0] == ("codial", 0)
    assert runs == sorted(runs, key=lambda run: (order.index(run[0]), run[1]))
    assert len(runs) == len(set(runs)) > 3


def test_no_published_runs_raise():
    with pytest.raises(CodialError, match=r"No published run matches 'results/nothing/\*'"):
        open_runs.open_published("results/nothing/*")
