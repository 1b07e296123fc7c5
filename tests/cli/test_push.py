"""`codial push` uploads an export to a stand-in for the hub, from which it is opened again."""

import re
import shutil
import sys

import hub_server
import pytest
import torch

import codial
from codial.cli.main import main
from codial.runs.export import export


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the hub, which huggingface_hub talks to."""
    with hub_server.running() as server:
        hub_server.connect(monkeypatch, server.url, tmp_path / "cache")
        yield server


def test_a_run_is_exported_and_can_be_opened_from_the_hub(run, hub, capsys):
    from huggingface_hub import ModelCard

    options = ["--layers", "all", "--precision", "full", "--license", "mit", "--private"]
    assert main(["push", str(run), "me/birds", *options]) == 0
    expected = f'{hub.url}/me/birds: open it by codial.load_backbone("hf:me/birds")\n'
    assert capsys.readouterr() == (expected, "")
    assert hub.private == {"me/birds": True}
    assert hub.models["me/birds"].keys() == {
        "README.md",
        "config.json",
        "provenance.json",
        "checkpoints/last.safetensors",
    }
    original, opened = codial.load_backbone(run), codial.load_backbone("hf:me/birds")
    assert opened.layers == original.layers
    assert all(torch.equal(tensor, opened.state_dict()[name]) for name, tensor in original.state_dict().items())
    card = ModelCard(hub.models["me/birds"]["README.md"].decode())
    assert card.data.license == "mit"
    assert re.findall(r"load_backbone\(.*\)", card.text) == ['load_backbone("hf:me/birds")']
    assert str(run) not in card.text


def test_by_default_maps_are_uploaded_in_half_precision(run, hub):
    assert main(["push", str(run), "me/birds"]) == 0
    assert hub.private == {"me/birds": False}
    assert codial.load_backbone("hf:me/birds").layers == ("conv1", "conv2", "conv3", "conv4", "conv5")
    assert b"F16" in hub.models["me/birds"]["checkpoints/last.safetensors"]


def test_an_export_is_uploaded_as_it_is_with_the_users_words(run, hub, tmp_path, error_of, capsys):
    folder = export(codial.open_run(run), tmp_path, "out", program=True)
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nThanks to the birds.\n")
    assert main(["push", str(folder), "me/birds"]) == 0
    uploaded = hub.models["me/birds"]
    for path in folder.rglob("*.*"):
        if path.name != "README.md":
            assert uploaded[path.relative_to(folder).as_posix()] == path.read_bytes()
    assert b"Thanks to the birds." in uploaded["README.md"]
    assert b'load_backbone("hf:me/birds")' in uploaded["README.md"]
    capsys.readouterr()
    error = error_of(["push", folder, "me/birds", "--layers", "all", "--license", "mit"])
    assert "is an export and is uploaded as it is; layers, license are for runs" in error


def test_a_second_upload_leaves_nothing_of_the_older_weights(run, hub, tmp_path):
    """Reports and program go, files of the user stay."""
    folder = export(codial.open_run(run), tmp_path, "out", program=True)
    (folder / "probe-photos.json").write_text("{}")
    assert main(["push", str(folder), "me/birds"]) == 0
    hub.models["me/birds"] |= {"bird.png": b"png", "my-notes.json": b"{}"}
    assert {"backbone.pt2", "probe-photos.json"} <= hub.models["me/birds"].keys()
    assert main(["push", str(run), "me/birds"]) == 0
    expected = {"README.md", "config.json", "provenance.json", "checkpoints/last.safetensors"}
    assert hub.models["me/birds"].keys() == expected | {"bird.png", "my-notes.json"}


def test_mistakes_get_one_line(run, hub, tmp_path, error_of, monkeypatch):
    assert "expected USER/NAME" in error_of(["push", run, "birds"])
    assert "nowhere is not a run" in error_of(["push", tmp_path / "nowhere", "me/birds"])
    assert "other/birds cannot be uploaded: the hub refuses access" in error_of(["push", run, "other/birds"])
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "me/birds cannot be uploaded: the hub refuses access" in error_of(["push", run, "me/birds"])
    assert not hub.models


def test_without_token_network_or_package_it_says_so(run, hub, tmp_path, error_of, monkeypatch):
    from huggingface_hub import constants

    with monkeypatch.context() as patch:
        patch.delenv("HF_TOKEN")
        patch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        assert "There is no token of the hub: log in by the command hf auth login" in error_of(["push", run, "me/a"])
    with monkeypatch.context() as patch:
        hub_server.connect(patch, "http://127.0.0.1:1", tmp_path)
        assert "me/a cannot be uploaded: there is no connection to the hub" in error_of(["push", run, "me/a"])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        assert "pip install 'codial[hf]'" in error_of(["push", run, "me/a"])


def test_an_unfinished_run_is_refused(run, hub, tmp_path, error_of):
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    assert "is not finished" in error_of(["push", copy, "me/birds"])
    assert not hub.models
