import errno
import json
import shutil
from dataclasses import replace

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

import codial
from codial import claims, runs
from codial.config import config_hash, to_dict
from codial.devices import describe, free_memory, uses_bf16
from codial.errors import CodialError
from codial.models import AlexNet
from codial.views import plain_view


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of the finished run, to be damaged."""
    return codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "copy"))


# Opening


def test_an_opened_run_knows_its_settings_history_and_state(tiny_run, tiny):
    run = codial.open_run(str(tiny_run.folder))
    assert run.config == tiny
    assert run.finished
    assert run.progress["step"] == run.progress["steps"] == 6
    assert run.progress["epoch"] == 2
    assert run.progress["views"] == 6 * 8 * 5
    assert [line["kind"] for line in run.history] == ["monitor", "train", "monitor", "train", "train", "monitor"]
    assert repr(run) == "Run(tiny, finished)"


def test_a_device_is_told_with_its_precision():
    cpu = torch.device("cpu")
    assert describe(cpu, "bf16").endswith("threads), bf16")
    assert describe(cpu, "auto") == describe(cpu, "bf16" if uses_bf16("auto", cpu) else "float32")


def test_free_memory_is_a_part_of_what_there_is():
    assert 0 < free_memory(torch.device("cpu")) < psutil.virtual_memory().total


def test_provenance_says_where_the_numbers_come_from(tiny_run, tiny, few):
    found = tiny_run.provenance
    assert found["config_hash"] == config_hash(tiny)
    assert found["seed"] == tiny.seed
    assert found["codial"] == codial.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["pictures"] == {"name": "photos", "split": "train", "count": 24, "fingerprint": few.fingerprint}
    assert found["device"] == "cpu (1 threads), float32"
    assert set(found) >= {"commit", "threads", "started"}


def test_a_curve_is_a_terms_steps_and_values(tiny_run):
    steps, values = tiny_run.curve("loss")
    assert steps == [2, 4, 6]
    assert values == [line["loss"] for line in tiny_run.history if "loss" in line]
    assert tiny_run.curve("knn")[0] == [0, 3, 6]
    with pytest.raises(CodialError, match=r"has no curve 'los'; it has beta, feature_std, knn, loss, "):
        tiny_run.curve("los")


def test_a_folder_that_is_no_run_is_refused_with_the_runs_beside_it(tiny_run, tmp_path):
    with pytest.raises(CodialError, match=r"nothing is not a run: it has no config.json. `codial pretrain` makes one"):
        codial.open_run(tmp_path / "nothing")
    with pytest.raises(CodialError, match=rf"is not a run.* Runs beside it: {tiny_run.folder}"):
        codial.open_run(tiny_run.folder.parent / "tine")


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("text", ["", "{", '{"seed": 1', "\x00"])
def test_a_damaged_config_is_named(text, copied):
    (copied.folder / "config.json").write_text(text)
    with pytest.raises(CodialError, match=r"config.json is not JSON .*cut short or edited by hand"):
        codial.open_run(copied.folder)


@pytest.mark.faults("damaged run folder")
def test_a_config_with_an_unknown_setting_is_refused(copied, tiny):
    (copied.folder / "config.json").write_text(json.dumps(to_dict(tiny) | {"colour": 1}))
    with pytest.raises(CodialError, match=r"no setting called 'colour'"):
        codial.open_run(copied.folder)


@pytest.mark.faults("damaged run folder")
def test_a_run_of_another_version_is_refused_with_both_versions(copied, tiny):
    path = copied.folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"codial": "9.1.0"}))
    assert codial.open_run(copied.folder).config == tiny  # nothing in it is unknown here
    (copied.folder / "config.json").write_text(json.dumps(to_dict(tiny) | {"dreams": 3}))
    with pytest.raises(CodialError, match=rf"dreams.* made by codial 9.1.0; this is {codial.__version__}\."):
        codial.open_run(copied.folder)


def test_runs_are_listed_by_path_however_deep(tiny_run, tmp_path):
    for name in ("b", "a/deep/er"):
        shutil.copytree(tiny_run.folder, tmp_path / name)
    assert [run.folder for run in codial.list_runs(tmp_path)] == [tmp_path / "a/deep/er", tmp_path / "b"]
    assert codial.list_runs(tmp_path / "none") == []


@pytest.mark.faults("damaged run folder")
def test_what_only_looks_like_a_run_is_left_out_of_the_list_and_named(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "good")
    for name, content in (("bert", b'{"hidden_size": 768}'), ("damaged", b'{"name": "ti'), ("binary", b"\xff\xfe\x00")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content)
    with pytest.warns(UserWarning, match="Left out") as told:
        assert [run.folder.name for run in codial.list_runs(tmp_path)] == ["good"]
    assert len(told) == 3
    assert all(str(tmp_path) in str(one.message) for one in told)


@pytest.mark.faults("two processes on one folder")
def test_a_claimed_folder_is_refused_until_it_is_free(tmp_path):
    with claims.claimed(tmp_path / "run"):
        with (
            pytest.raises(CodialError, match=r"run is being trained by someone else"),
            claims.claimed(tmp_path / "run"),
        ):
            pass
        with claims.claimed(tmp_path / "another"):
            pass
    with claims.claimed(tmp_path / "run"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(CodialError, match="is not a run but a file; name a folder"), claims.claimed(tmp_path / "file"):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "flock", refuse)
    told = pytest.warns(UserWarning, match="no locks .*: nobody keeps a second process")
    with told, claims.claimed(tmp_path / "run"), claims.claimed(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_run_before_its_first_checkpoint_can_be_opened(tmp_path, tiny):
    run = runs.create_run(tmp_path / "new", tiny, {}, "cpu")
    opened = codial.open_run(run.folder)
    assert (opened.history, opened.progress, opened.finished) == ([], {}, False)
    assert repr(opened) == "Run(tiny, at epoch 0)"
    with pytest.raises(CodialError, match=r"has no 'last' checkpoint yet; wait for its first, or train it"):
        opened.trunk()
    with pytest.raises(CodialError, match=r"has no curve 'loss'; it has no history yet"):
        opened.curve("loss")


# History


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("half", ['{"kind": "train", "st', '{"kind": "train", "step": 7, "loss": 1.5}', "{"])
def test_a_line_still_being_written_is_left_out(half, copied):
    before = copied.history
    with (copied.folder / "history.jsonl").open("a") as file:
        file.write(half)
    assert copied.history == before
    with (copied.folder / "history.jsonl").open("a") as file:
        file.write("\n" if half.endswith("}") else "")
    assert len(copied.history) == len(before) + half.endswith("}")


def test_cutting_drops_later_lines_and_a_half_written_one(tmp_path):
    for step in (0, 2, 4, 6):
        runs.append_line(tmp_path, {"step": step})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 3')
    runs.cut_history(tmp_path, 4)
    assert (tmp_path / "history.jsonl").read_text() == '{"step": 0}\n{"step": 2}\n{"step": 4}\n'
    runs.cut_history(tmp_path, -1)
    assert (tmp_path / "history.jsonl").read_text() == ""
    runs.cut_history(tmp_path / "none", 4)


# Weights


@pytest.mark.parametrize("which", ["last", "best"])
def test_the_trunk_has_the_checkpoints_weights_and_evaluates(which, tiny_run, tiny, few):
    trunk = tiny_run.trunk(which)
    stored = load_file(tiny_run.folder / "checkpoints" / f"{which}.safetensors")
    assert isinstance(trunk, AlexNet)
    assert not trunk.training
    for name, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, stored[f"model.trunk.{name}"])
    assert torch.isfinite(trunk(plain_view(few.images, tiny.views.size))).all()


def test_an_unknown_checkpoint_is_named(tiny_run):
    with pytest.raises(CodialError, match=r"has no 'first' checkpoint yet"):
        tiny_run.trunk("first")


@pytest.mark.faults("damaged run folder")
def test_weights_that_do_not_fit_are_listed_all(copied):
    path = copied.folder / "checkpoints" / "last.safetensors"
    tensors = load_file(path)
    tensors["model.trunk.conv9.weight"] = tensors.pop("model.trunk.conv1.conv.weight")
    tensors["model.trunk.fc7.1.bias"] = torch.zeros(3)
    save_file(tensors, path, {"note": "{}"})
    width = copied.trunk("best").features
    with pytest.raises(CodialError) as caught:
        copied.trunk()
    assert str(caught.value) == (
        f"{path} does not fit the config: conv1.conv.weight missing; conv9.weight unknown;"
        f" fc7.1.bias is [3], expected [{width}]."
    )


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("damage", ["empty", "half", "header", "text", "no note", "broken note"])
def test_a_damaged_checkpoint_is_named(damage, copied):
    path = copied.folder / "checkpoints" / "last.safetensors"
    (path.parent / "previous.safetensors").unlink()
    content = path.read_bytes()
    if damage in ("no note", "broken note"):
        save_file(load_file(path), path, None if damage == "no note" else {"note": "{"})
    else:
        half, header = content[: len(content) // 2], content[:8] + b"\xff" * 8 + content[16:]
        path.write_bytes({"empty": b"", "half": half, "header": header, "text": b"weights"}[damage])
    with pytest.raises(CodialError, match=r"last.safetensors is (not a readable|no) checkpoint.*; delete it to start"):
        _ = codial.open_run(copied.folder).progress


# Making


def test_the_same_settings_and_pictures_open_the_same_run(tmp_path, tiny):
    pictures = {"name": "photos", "split": "train", "count": 24, "fingerprint": "aa"}
    first = runs.create_run(tmp_path / "run", tiny, pictures, "cpu")
    before = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.is_file()}
    for known in (pictures, {}):
        assert runs.create_run(tmp_path / "run", tiny, known, "other").config == tiny
    assert {path.name: path.read_bytes() for path in first.folder.iterdir() if path.is_file()} == before
    other = {"name": "mine", "split": "all", "count": 20, "fingerprint": "bb"}
    expected = r"learns from other pictures \(24 of photos/train, aa there, 20 of mine/all, bb asked\)"
    with pytest.raises(CodialError, match=expected):
        runs.create_run(tmp_path / "run", tiny, other, "")


def test_other_settings_in_the_same_folder_are_listed(tmp_path, tiny):
    runs.create_run(tmp_path / "run", tiny, {}, "cpu")
    other = replace(tiny, seed=1, train=replace(tiny.train, epochs=9))
    with pytest.raises(CodialError) as caught:
        runs.create_run(tmp_path / "run", other, {}, "cpu")
    assert str(caught.value) == (
        f"{tmp_path / 'run'} holds a run with other settings (seed: {tiny.seed} there, 1 asked;"
        " train.epochs: 2 there, 9 asked). Name a new folder, or delete this one."
    )


def test_another_system_in_the_same_folder_is_refused(tmp_path, tiny):
    runs.create_run(tmp_path / "run", tiny, {}, "cpu")
    expected = r"objective.system: 'codial' there, 'supervised' asked; .*z_dim: 8 there, None asked"
    with pytest.raises(CodialError, match=expected):
        runs.create_run(tmp_path / "run", codial.override(tiny, {"objective.system": "supervised"}), {}, "cpu")


@pytest.mark.parametrize("what", ["file", "folder with something", "folder with checkpoints and something"])
def test_nothing_is_written_over_what_is_no_run(what, tmp_path, tiny):
    place = tmp_path / "mine"
    if what == "file":
        place.write_text("important")
    else:
        place.mkdir()
        (place / "thesis.txt").write_text("important")
        if "checkpoints" in what:
            (place / "checkpoints").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CodialError, match=r"mine exists and is not a run; name a new folder, or empty this one"):
        runs.create_run(place, tiny, {}, "cpu")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("left", [(), ("checkpoints",), ("checkpoints", "provenance.json", "config.json.part")])
def test_what_a_run_killed_at_birth_left_is_taken_over(left, tmp_path, tiny):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).mkdir() if name == "checkpoints" else (tmp_path / "run" / name).write_text("{")
    assert runs.create_run(tmp_path / "run", tiny, {}, "cpu").config == tiny
    assert codial.open_run(tmp_path / "run").provenance["seed"] == tiny.seed
