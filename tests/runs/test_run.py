import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import codial
from codial.config import config_hash, to_dict
from codial.errors import CodialError
from codial.models import AlexNet
from codial.runs.create import create_run
from codial.runs.history import append_history, truncate_history
from codial.transforms import plain_view


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of the finished run that a test may damage."""
    return codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "copy"))


# Opening


def test_an_opened_run_has_its_config_history_and_progress(tiny_run, tiny):
    run = codial.open_run(str(tiny_run.folder))
    assert run.config == tiny
    assert run.finished
    assert run.progress["step"] == run.progress["steps"] == 6
    assert run.progress["epoch"] == 2
    assert run.progress["views"] == 6 * 8 * 5
    assert [line["kind"] for line in run.history] == ["monitor", "train", "monitor", "train", "train", "monitor"]
    assert repr(run) == "Run(tiny, finished)"


def test_provenance(tiny_run, tiny, few):
    provenance = tiny_run.provenance
    assert provenance["config_hash"] == config_hash(tiny)
    assert provenance["seed"] == tiny.seed
    assert provenance["codial"] == codial.__version__
    assert provenance["versions"]["torch"] == torch.__version__
    images = {"name": "photos", "split": "train", "count": 24, "fingerprint": few.fingerprint, "labeled": True}
    assert provenance["images"] == images
    assert provenance["device"] == "cpu (1 threads), float32"
    assert set(provenance) >= {"commit", "threads", "started"}


def test_a_curve_has_the_steps_and_values_of_a_term(tiny_run):
    steps, values = tiny_run.curve("loss")
    assert steps == [2, 4, 6]
    assert values == [line["loss"] for line in tiny_run.history if "loss" in line]
    assert tiny_run.curve("knn")[0] == [0, 3, 6]
    with pytest.raises(CodialError, match=r"has no curve 'los'; it has beta, feature_std, knn, loss, "):
        tiny_run.curve("los")


def test_a_folder_that_is_not_a_run_is_refused_with_a_hint(tiny_run, tmp_path):
    with pytest.raises(CodialError, match=r"none is not a run: it has no config.json. `codial pretrain` creates"):
        codial.open_run(tmp_path / "none")
    with pytest.raises(CodialError, match=rf"is not a run.* Runs beside it: {tiny_run.folder}"):
        codial.open_run(tiny_run.folder.parent / "tine")


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("text", ["", "{", '{"seed": 1', "\x00"])
def test_a_damaged_config_is_refused(text, copied):
    (copied.folder / "config.json").write_text(text)
    with pytest.raises(CodialError, match=r"config.json is not JSON .*truncated or edited by hand"):
        codial.open_run(copied.folder)


@pytest.mark.faults("damaged run folder")
def test_a_config_with_an_unknown_setting_is_refused(copied, tiny):
    (copied.folder / "config.json").write_text(json.dumps(to_dict(tiny) | {"color": 1}))
    with pytest.raises(CodialError, match=r"no setting called 'color'"):
        codial.open_run(copied.folder)


@pytest.mark.faults("damaged run folder")
def test_a_run_of_another_version_is_refused_with_both_versions(copied, tiny):
    path = copied.folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"codial": "9.1.0"}))
    assert codial.open_run(copied.folder).config == tiny
    (copied.folder / "config.json").write_text(json.dumps(to_dict(tiny) | {"unknown": 3}))
    with pytest.raises(CodialError, match=rf"unknown.* made by codial 9.1.0; this is {codial.__version__}\."):
        codial.open_run(copied.folder)


def test_runs_are_listed_at_any_depth_sorted_by_path(tiny_run, tmp_path):
    for name in ("b", "a/deep/er"):
        shutil.copytree(tiny_run.folder, tmp_path / name)
    assert [run.folder for run in codial.list_runs(tmp_path)] == [tmp_path / "a/deep/er", tmp_path / "b"]
    assert codial.list_runs(tmp_path / "none") == []


@pytest.mark.faults("damaged run folder")
def test_what_is_not_a_run_is_skipped_with_a_warning(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "good")
    for name, content in (("bert", b'{"hidden_size": 768}'), ("damaged", b'{"name": "ti'), ("binary", b"\xff\xfe\x00")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(content)
    with pytest.warns(UserWarning, match="Skipped") as warnings:
        assert [run.folder.name for run in codial.list_runs(tmp_path)] == ["good"]
    assert len(warnings) == 3
    assert all(str(tmp_path) in str(warning.message) for warning in warnings)


def test_a_run_before_its_first_checkpoint_can_be_opened(tmp_path, tiny):
    run = create_run(tmp_path / "new", tiny, {}, "cpu")
    opened = codial.open_run(run.folder)
    assert (opened.history, opened.progress, opened.finished) == ([], {}, False)
    assert repr(opened) == "Run(tiny, at epoch 0)"
    with pytest.raises(CodialError, match=r"has no 'last' checkpoint yet; wait for its first, or train it"):
        opened.backbone()
    with pytest.raises(CodialError, match=r"has no curve 'loss'; it has no history yet"):
        opened.curve("loss")


# History


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("part", ['{"kind": "train", "st', '{"kind": "train", "step": 7, "loss": 1.5}', "{"])
def test_an_incomplete_last_line_is_ignored(part, copied):
    before = copied.history
    with (copied.folder / "history.jsonl").open("a") as file:
        file.write(part)
    assert copied.history == before
    with (copied.folder / "history.jsonl").open("a") as file:
        file.write("\n" if part.endswith("}") else "")
    assert len(copied.history) == len(before) + part.endswith("}")


def test_truncating_removes_later_and_incomplete_lines(tmp_path):
    for step in (0, 2, 4, 6):
        append_history(tmp_path, {"step": step})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 3')
    truncate_history(tmp_path, 4)
    assert (tmp_path / "history.jsonl").read_text() == '{"step": 0}\n{"step": 2}\n{"step": 4}\n'
    truncate_history(tmp_path, -1)
    assert (tmp_path / "history.jsonl").read_text() == ""
    truncate_history(tmp_path / "none", 4)


# Weights


@pytest.mark.parametrize("which", ["last", "best"])
def test_the_backbone_has_the_weights_of_the_checkpoint_in_evaluation_mode(which, tiny_run, tiny, few):
    backbone = tiny_run.backbone(which)
    stored = load_file(tiny_run.folder / "checkpoints" / f"{which}.safetensors")
    assert isinstance(backbone, AlexNet)
    assert not backbone.training
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, stored[f"model.backbone.{name}"])
    assert torch.isfinite(backbone(plain_view(few.images, tiny.views.size))).all()


def test_a_missing_checkpoint_is_named(tiny_run):
    with pytest.raises(CodialError, match=r"has no 'first' checkpoint yet"):
        tiny_run.backbone("first")


@pytest.mark.faults("damaged run folder")
def test_all_weights_that_do_not_fit_are_listed(copied):
    path = copied.folder / "checkpoints" / "last.safetensors"
    tensors = load_file(path)
    tensors["model.backbone.conv9.weight"] = tensors.pop("model.backbone.conv1.conv.weight")
    tensors["model.backbone.fc7.1.bias"] = torch.zeros(3)
    save_file(tensors, path, {"note": "{}"})
    width = copied.backbone("best").feature_dim
    with pytest.raises(CodialError) as caught:
        copied.backbone()
    assert str(caught.value) == (
        f"{path} does not fit the config: conv1.conv.weight missing; conv9.weight unknown;"
        f" fc7.1.bias is [3], expected [{width}]."
    )


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("damage", ["empty", "half", "header", "text", "no metadata", "damaged metadata"])
def test_a_damaged_checkpoint_is_named(damage, copied):
    path = copied.folder / "checkpoints" / "last.safetensors"
    (path.parent / "previous.safetensors").unlink()
    content = path.read_bytes()
    if "metadata" in damage:
        save_file(load_file(path), path, None if damage == "no metadata" else {"note": "{"})
    else:
        half, header = content[: len(content) // 2], content[:8] + b"\xff" * 8 + content[16:]
        path.write_bytes({"empty": b"", "half": half, "header": header, "text": b"weights"}[damage])
    with pytest.raises(CodialError, match=r"last.safetensors is not a (readable )?checkpoint.*; delete it to start"):
        _ = codial.open_run(copied.folder).progress


# Creating


def test_the_same_settings_and_images_open_the_same_run(tmp_path, tiny):
    images = {"name": "photos", "split": "train", "count": 24, "fingerprint": "aa"}
    first = create_run(tmp_path / "run", tiny, images, "cpu")
    before = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.is_file()}
    for given in (images, {}):
        assert create_run(tmp_path / "run", tiny, given, "other").config == tiny
    assert {path.name: path.read_bytes() for path in first.folder.iterdir() if path.is_file()} == before
    other = {"name": "mine", "split": "all", "count": 20, "fingerprint": "bb"}
    expected = r"is trained on other images \(24 of photos/train, aa in the folder, 20 of mine/all, bb requested\)"
    with pytest.raises(CodialError, match=expected):
        create_run(tmp_path / "run", tiny, other, "")


def test_other_settings_in_the_same_folder_are_listed(tmp_path, tiny):
    create_run(tmp_path / "run", tiny, {}, "cpu")
    other = replace(tiny, seed=1, train=replace(tiny.train, epochs=9))
    with pytest.raises(CodialError) as caught:
        create_run(tmp_path / "run", other, {}, "cpu")
    assert str(caught.value) == (
        f"{tmp_path / 'run'} holds a run with other settings (seed: {tiny.seed} in the folder,"
        " 1 requested; train.epochs: 2 in the folder, 9 requested). Use a new folder, or delete this one."
    )


def test_another_method_in_the_same_folder_is_refused(tmp_path, tiny):
    create_run(tmp_path / "run", tiny, {}, "cpu")
    expected = r"method.name: 'codial' in the folder, 'supervised' requested; .*z_dim: 8 in the folder, None"
    with pytest.raises(CodialError, match=expected):
        create_run(tmp_path / "run", codial.override(tiny, {"method.name": "supervised"}), {}, "cpu")


@pytest.mark.parametrize("existing", ["file", "folder with something", "folder with checkpoints and something"])
def test_other_files_and_folders_are_not_overwritten(existing, tmp_path, tiny):
    path = tmp_path / "mine"
    if existing == "file":
        path.write_text("important")
    else:
        path.mkdir()
        (path / "thesis.txt").write_text("important")
        if "checkpoints" in existing:
            (path / "checkpoints").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CodialError, match=r"mine exists and is not a run; use a new folder, or empty this one"):
        create_run(path, tiny, {}, "cpu")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.faults("damaged run folder")
@pytest.mark.parametrize("left", [(), ("checkpoints",), ("checkpoints", "provenance.json", "config.json.part")])
def test_the_folder_of_a_run_killed_during_its_creation_is_reused(left, tmp_path, tiny):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).mkdir() if name == "checkpoints" else (tmp_path / "run" / name).write_text("{")
    assert create_run(tmp_path / "run", tiny, {}, "cpu").config == tiny
    assert codial.open_run(tmp_path / "run").provenance["seed"] == tiny.seed
