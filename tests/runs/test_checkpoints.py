"""Damaged checkpoints are detected, named, and replaced by the previous one."""

import os
import pickle
import shutil

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from damage import flip
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import codial
from codial.errors import CodialError
from codial.runs.checkpoints import latest_checkpoint, read_tensors, save_checkpoint, verify_checkpoint
from codial.runs.metadata import latest_metadata, read_metadata

LAST, PREVIOUS, DAMAGED = (f"checkpoints/{name}.safetensors" for name in ("last", "previous", "damaged"))

pytestmark = pytest.mark.faults("damaged checkpoint")


@pytest.fixture
def stopped(longer, few, tmp_path):
    """A run stopped in its third epoch, with its last checkpoint of step 8 and the previous one of step 6."""
    run = pretrain_quietly(longer, tmp_path / "stopped", few, stop=stop_after(8))
    assert read_metadata(run.folder / LAST)["step"] == 8
    assert read_metadata(run.folder / PREVIOUS)["step"] == 6
    return run


def test_a_checkpoint_round_trips(tmp_path, generator):
    strided = torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=torch.channels_last)
    tensors = {
        "a.strided": strided,
        "a.scalar": torch.tensor(1.5, dtype=torch.float64),
        "a.empty": torch.zeros(0, 3),
        "b.half": torch.ones(2).bfloat16(),
    }
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, tensors, {"step": 3, "best": 1.25})
    verify_checkpoint(path)
    assert read_metadata(path) == {"step": 3, "best": 1.25}
    back = read_tensors(path)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype for name in back)
    assert read_tensors(path, "b.").keys() == {"b.half"}


def test_any_flipped_bit_of_the_tensors_is_detected(tmp_path, generator):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.randn(100, generator=generator), "b": torch.ones(3)}, {"step": 3})
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for position in torch.randint(header, len(content), (50,), generator=generator).tolist():
        flip(path, position)
        with pytest.raises(CodialError, match=r"c.safetensors, of step 3, is damaged: its checksum is"):
            verify_checkpoint(path)
        path.write_bytes(content)
    verify_checkpoint(path)


def test_changed_metadata_is_detected(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(3)}, {"step": 3})
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | {"note": '{"step": 4}'})
    with pytest.raises(CodialError, match=r"damaged"):
        verify_checkpoint(path)


def test_a_checkpoint_without_a_checksum_is_accepted(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "old")
    path = tmp_path / "old" / LAST
    with safe_open(path, "pt") as file:
        note = file.metadata()["note"]
    save_file(load_file(path), path, {"note": note})
    assert latest_checkpoint(path.parent) == path
    assert codial.open_run(tmp_path / "old").backbone() is not None


def test_a_folder_without_checkpoints(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_metadata(tmp_path) == {}


@pytest.mark.parametrize("damage", ["bit", "half", "empty", "missing"])
def test_a_run_resumes_from_the_previous_checkpoint_to_the_same_numbers(stopped, uninterrupted, few, damage):
    path = stopped.folder / LAST
    content = path.read_bytes()
    if damage == "bit":
        flip(path, len(content) // 2)
    elif damage == "missing":
        path.unlink()  # killed between two renames
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    if damage == "missing":
        run = pretrain_quietly(stopped.config, stopped.folder, few)
    else:
        with pytest.warns(UserWarning, match=r"last.safetensors.* Using previous.safetensors, of step 6"):
            run = pretrain_quietly(stopped.config, stopped.folder, few)
        assert (stopped.folder / DAMAGED).exists()
    assert_same_run(run, uninterrupted)


def test_an_opened_run_falls_back_to_the_previous_checkpoint(stopped):
    (stopped.folder / LAST).write_bytes(b"")
    assert stopped.progress["step"] == 6
    with pytest.warns(UserWarning, match=r"Using .* of step 6"):
        backbone = stopped.backbone()
    expected = read_tensors(stopped.folder / PREVIOUS, "model.backbone.conv1")
    state = backbone.state_dict()
    assert all(torch.equal(state[name.removeprefix("model.backbone.")], value) for name, value in expected.items())


def test_two_damaged_checkpoints_are_refused_and_kept(stopped, few):
    for name in (LAST, PREVIOUS):
        flip(stopped.folder / name)
    before = {path: path.read_bytes() for path in stopped.folder.rglob("*") if path.is_file()}
    with pytest.raises(CodialError, match=r"last.safetensors, of step 8, is damaged"):
        pretrain_quietly(stopped.config, stopped.folder, few)
    assert {path: path.read_bytes() for path in stopped.folder.rglob("*") if path.is_file()} == before


def test_a_finished_run_with_a_damaged_last_checkpoint_is_trained_to_the_end_again(uninterrupted, few, tmp_path):
    shutil.copytree(uninterrupted.folder, tmp_path / "run")
    flip(tmp_path / "run" / LAST)
    with pytest.warns(UserWarning, match=r"Using previous"):
        run = pretrain_quietly(uninterrupted.config, tmp_path / "run", few)
    assert_same_run(run, uninterrupted)


class Exploit:
    """Creates a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("how", ["torch", "old torch", "pickle"])
def test_a_pickle_is_refused_and_never_loaded(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.safetensors"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Exploit()))
    else:
        torch.save({"model.x": Exploit()}, path, _use_new_zipfile_serialization=how == "torch")
    for read in (read_metadata, read_tensors, verify_checkpoint):
        with pytest.raises(CodialError, match=r"it is a pickle, which can run arbitrary code when loaded"):
            read(path)
    assert not (tmp_path / "pwned").exists()


def test_a_damaged_best_checkpoint_is_refused(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    run = codial.open_run(tmp_path / "run")
    flip(run.folder / "checkpoints" / "best.safetensors")
    with pytest.raises(CodialError, match=r"best.safetensors, of step \d+, is damaged"):
        run.backbone("best")
