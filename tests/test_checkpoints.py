"""Checkpoints that are damaged after they were written: found out, named, and replaced by the one before."""

import os
import pickle
import shutil

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from damage import flip
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import codial
from codial.checkpoints import newest, newest_note, read_note, read_tensors, require_whole, save_checkpoint
from codial.errors import CodialError

LAST, PREVIOUS, DAMAGED = (f"checkpoints/{name}.safetensors" for name in ("last", "previous", "damaged"))

pytestmark = pytest.mark.faults("damaged checkpoint")


@pytest.fixture
def stopped(longer, few, tmp_path):
    """A run stopped in its third epoch: the last checkpoint is of step 8, the one before of step 6."""
    run = go(longer, tmp_path / "stopped", few, stop=stopping_after(8))
    assert read_note(run.folder / LAST)["step"] == 8
    assert read_note(run.folder / PREVIOUS)["step"] == 6
    return run


def test_a_checkpoint_comes_back_as_it_was(tmp_path, generator):
    strided = torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=torch.channels_last)
    tensors = {
        "a.strided": strided,
        "a.scalar": torch.tensor(1.5, dtype=torch.float64),
        "a.empty": torch.zeros(0, 3),
        "b.half": torch.ones(2).bfloat16(),
    }
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, tensors, {"step": 3, "best": 1.25})
    require_whole(path)
    assert read_note(path) == {"step": 3, "best": 1.25}
    back = read_tensors(path)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype for name in back)
    assert read_tensors(path, "b.").keys() == {"b.half"}


def test_any_bit_of_the_tensors_counts(tmp_path, generator):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.randn(100, generator=generator), "b": torch.ones(3)}, {"step": 3})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = torch.randint(header, len(whole), (50,), generator=generator).tolist()
    for place in places:
        flip(path, place)
        with pytest.raises(CodialError, match=r"c.safetensors, of step 3, is damaged: its checksum is"):
            require_whole(path)
        path.write_bytes(whole)
    require_whole(path)


def test_a_note_that_was_changed_is_found_out(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(3)}, {"step": 3})
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | {"note": '{"step": 4}'})
    with pytest.raises(CodialError, match=r"damaged"):
        require_whole(path)


def test_checkpoints_from_before_there_were_checksums_are_taken_as_they_are(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "old")
    path = tmp_path / "old" / LAST
    with safe_open(path, "pt") as file:
        note = file.metadata()["note"]
    save_file(load_file(path), path, {"note": note})
    assert newest(path.parent) == path
    assert codial.open_run(tmp_path / "old").trunk() is not None


def test_there_may_be_none_yet(tmp_path):
    assert newest(tmp_path) is None
    assert newest_note(tmp_path) == {}


@pytest.mark.parametrize("damage", ["bit", "half", "empty", "gone"])
def test_a_run_goes_on_from_the_checkpoint_before_to_the_same_numbers(stopped, uninterrupted, few, damage):
    path = stopped.folder / LAST
    content = path.read_bytes()
    if damage == "bit":
        flip(path, len(content) // 2)
    elif damage == "gone":
        path.unlink()  # killed between two renames
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    if damage == "gone":
        run = go(stopped.config, stopped.folder, few)
    else:
        with pytest.warns(UserWarning, match=r"last.safetensors.* previous.safetensors, of step 6, is used"):
            run = go(stopped.config, stopped.folder, few)
        assert (stopped.folder / DAMAGED).exists()
    assert_same_run(run, uninterrupted)


def test_while_the_last_is_damaged_the_one_before_is_what_is_seen(stopped):
    (stopped.folder / LAST).write_bytes(b"")
    assert stopped.progress["step"] == 6
    with pytest.warns(UserWarning, match=r"step 6, is used"):
        trunk = stopped.trunk()
    expected = read_tensors(stopped.folder / PREVIOUS, "model.trunk.conv1")
    state = trunk.state_dict()
    assert all(torch.equal(state[name.removeprefix("model.trunk.")], value) for name, value in expected.items())


def test_if_both_are_damaged_the_run_says_so_and_loses_nothing(stopped, few):
    for name in (LAST, PREVIOUS):
        flip(stopped.folder / name)
    before = {path: path.read_bytes() for path in stopped.folder.rglob("*") if path.is_file()}
    with pytest.raises(CodialError, match=r"last.safetensors, of step 8, is damaged"):
        go(stopped.config, stopped.folder, few)
    assert {path: path.read_bytes() for path in stopped.folder.rglob("*") if path.is_file()} == before


def test_a_finished_run_whose_last_checkpoint_breaks_is_finished_again(uninterrupted, few, tmp_path):
    shutil.copytree(uninterrupted.folder, tmp_path / "run")
    flip(tmp_path / "run" / LAST)
    with pytest.warns(UserWarning, match=r"is used"):
        run = go(uninterrupted.config, tmp_path / "run", few)
    assert_same_run(run, uninterrupted)


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("how", ["torch", "torch as it was", "pickle"])
def test_a_pickle_is_refused_and_never_loaded(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.safetensors"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save({"model.x": Evil()}, path, _use_new_zipfile_serialization=how == "torch")
    for read in (read_note, read_tensors, require_whole):
        with pytest.raises(CodialError, match=r"it is a pickle, which could run anything when it is read"):
            read(path)
    assert not (tmp_path / "pwned").exists()


def test_a_damaged_best_checkpoint_is_refused(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    run = codial.open_run(tmp_path / "run")
    flip(run.folder / "checkpoints" / "best.safetensors")
    with pytest.raises(CodialError, match=r"best.safetensors, of step \d+, is damaged"):
        run.trunk("best")
