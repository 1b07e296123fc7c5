"""Opening runs by their folders, and making what is missing."""

import pytest

from codial import comparison, override, preset, pretrain
from codial.errors import CodialError
from codial.presets import PRESETS

TINY = {
    "data.limit": 40, "views.size": 16, "model.width": 0.05, "train.epochs": 1, "train.batch": 20,
    "train.device": "cpu", "train.monitor_every": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """Make the presets that these tests train tiny."""
    for name in ("codial/photos", "random/photos"):
        epochs = {"train.epochs": min(1, preset(name).train.epochs)}
        monkeypatch.setitem(PRESETS, name, override(preset(name), TINY | epochs))


def test_missing_runs_are_trained_by_the_preset_that_their_folder_names(tmp_path):
    folders = [tmp_path / "photos/random", tmp_path / "photos/codial"]
    runs = comparison.open_or_pretrain(f"{folders[0]}, {folders[1]}")
    assert list(runs) == ["random/photos", "codial/photos"]
    assert [run.folder for run in runs.values()] == folders
    assert all(run.finished for run in runs.values())


def test_a_run_that_is_there_is_opened_whatever_its_settings_and_name(tmp_path):
    config = override(preset("random/photos"), {"seed": 7, "name": "mine"})
    pretrain(config, tmp_path / "photos/codial", progress=False)
    (run,) = comparison.open_or_pretrain(str(tmp_path / "photos/codial")).values()
    assert run.config == config


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for name in ("a", "b"):
        pretrain(preset("random/photos"), tmp_path / name, progress=False)
    runs = comparison.open_or_pretrain(f"{tmp_path / 'a'},{tmp_path / 'b'},")
    assert list(runs) == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_a_folder_that_names_no_preset_says_how_to_make_it(tmp_path):
    with pytest.raises(CodialError, match=r"'mine/photos' is no preset .*`codial pretrain PRESET --out"):
        comparison.open_or_pretrain(str(tmp_path / "photos/mine"))


@pytest.mark.parametrize("folders", ["", " , "])
def test_no_folder_at_all_is_a_mistake(folders):
    with pytest.raises(CodialError, match="expected folders separated by commas"):
        comparison.open_or_pretrain(folders)


def test_published_runs_come_in_the_order_of_the_presets():
    names = [(run.config.name, run.config.seed) for run in comparison.open_published("results/photos*/*")]
    assert names[0] == ("codial/photos", 0)
    assert names == sorted(names, key=lambda found: (list(PRESETS).index(found[0]), found[1]))
    assert len(names) == len(set(names)) > 3


def test_nothing_published_is_a_mistake():
    with pytest.raises(CodialError, match="Nothing is published as 'results/nothing/\\*'"):
        comparison.open_published("results/nothing/*")
