import shutil
import threading
import warnings

import pytest
import torch

import codial
from codial.runs.epoch_checkpoints import KeepEpochs, earlier_epochs


@pytest.fixture(scope="module")
def kept(longer, few, tmp_path_factory):
    """A run of six epochs with a checkpoint after every second one."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    return codial.pretrain(longer, folder, images=few, on_log=KeepEpochs(folder), progress=False)


def names(run):
    return sorted(path.stem for path in (run.folder / "checkpoints").glob("epoch-*"))


def test_saved_epochs_are_kept(kept):
    assert names(kept) == ["epoch-2", "epoch-4"]


def test_keeping_epochs_changes_nothing_else(kept, uninterrupted):
    weights = kept.backbone().state_dict()
    expected = uninterrupted.backbone().state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_kept_epochs_are_opened_in_order(kept):
    backbones = earlier_epochs(kept)
    assert list(backbones) == ["longer, epoch 2", "longer, epoch 4"]  # whichever was the best or the previous
    expected = kept.backbone("epoch-2").state_dict()
    weights = backbones["longer, epoch 2"].state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert not torch.equal(weights["conv1.conv.weight"], kept.backbone().state_dict()["conv1.conv.weight"])


def test_only_multiples_of_every_are_kept(longer, few, tmp_path):
    folder = tmp_path / "run"
    run = codial.pretrain(longer, folder, images=few, on_log=KeepEpochs(folder, every=4), progress=False)
    assert names(run) == ["epoch-4"]


def test_checkpoints_within_an_epoch_are_not_kept(longer, few, tmp_path):
    KeepEpochs(tmp_path)({})
    folder, stop = tmp_path / "run", threading.Event()
    codial.pretrain(longer, folder, images=few, stop=stop, on_log=lambda line: stop.set(), progress=False)
    stop.clear()
    run = codial.pretrain(
        longer, folder, images=few, stop=stop, on_log=lambda line: line["step"] and stop.set(), progress=False
    )
    assert run.progress["step"] % 3, "it stopped within an epoch"
    KeepEpochs(folder)({})
    assert names(run) == []


def test_a_damaged_checkpoint_is_skipped_with_a_warning(kept, tmp_path):
    run = codial.open_run(shutil.copytree(kept.folder, tmp_path / "run"))
    path = run.folder / "checkpoints/epoch-2.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"Skipped: .*epoch-2"):
        backbones = earlier_epochs(run)
    assert "longer, epoch 2" not in backbones
    assert "longer, epoch 4" in backbones


def test_a_run_without_kept_epochs_has_none(uninterrupted):
    assert {path.stem for path in (uninterrupted.folder / "checkpoints").iterdir()} >= {"last", "previous"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert earlier_epochs(uninterrupted) == {}
