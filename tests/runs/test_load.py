"""`codial.load_backbone`: a backbone from a run, an export or the hub, with the core packages only."""

import json
import shutil
import subprocess
import sys

import hub_server
import pytest
import torch

import codial
from codial.errors import CodialError
from codial.runs.export import export
from codial.runs.push import push

HEAVY = (
    "faiss", "sklearn", "umap", "matplotlib", "ipywidgets", "IPython", "numba", "scipy", "skimage", "cv2", "pandas",
    "timm", "huggingface_hub", "PIL", "pooch", "typer", "yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """An export of the tiny run with all layers in full precision, which tests do not change."""
    return export(tiny_run, tmp_path_factory.mktemp("out"), "mine", layers="all", precision="full")


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "mine")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the hub, which huggingface_hub talks to."""
    with hub_server.running() as server:
        hub_server.connect(monkeypatch, server.url, tmp_path / "cache")
        yield server


def test_features_by_name_are_those_of_the_run(exported, tiny_run):
    images = torch.rand(2, 3, 32, 32)
    expected = tiny_run.backbone().features(images)
    for source in (exported, str(exported), tiny_run.folder):
        backbone = codial.load_backbone(source, device="cpu")
        assert isinstance(backbone, codial.models.Backbone)
        assert not backbone.training
        found = backbone.features(images, layers=["conv5", "fc7"])
        assert list(found) == ["conv5", "fc7"]
        assert all(torch.equal(found[layer], expected[layer]) for layer in found)


def test_it_needs_only_torch_and_the_core(exported, tmp_path):
    code = (
        f"import sys; sys.modules |= dict.fromkeys({HEAVY!r})\n"
        "import codial, torch; torch.set_num_threads(1)\n"
        "backbone = codial.load_backbone(sys.argv[1])\n"
        "torch.save(backbone.features(torch.ones(1, 3, 32, 32)), sys.argv[2])"
    )
    found = tmp_path / "features.pt"
    subprocess.run([sys.executable, "-c", code, str(exported), str(found)], check=True, timeout=100, cwd=tmp_path)
    expected = codial.load_backbone(exported).features(torch.ones(1, 3, 32, 32))
    for layer, activations in torch.load(found).items():
        torch.testing.assert_close(activations, expected[layer])


def test_the_method_need_not_be_installed(copied):
    """An export of a method of somebody's own, or of a later version, opens without it."""
    config = json.loads((copied / "config.json").read_text())
    config["method"] = {"name": "of-a-friend", "temperature": 7}
    config["train"]["new_setting"] = 1
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(CodialError, match="of-a-friend"):
        codial.open_run(copied)
    assert codial.load_backbone(copied).layers[-1] == "fc7"


def test_an_unregistered_backbone_is_named(copied):
    config = json.loads((copied / "config.json").read_text())
    config["model"]["backbone"] = "of-a-friend"
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(CodialError, match=r"The backbone of .*config\.json cannot be created: .*of-a-friend"):
        codial.load_backbone(copied)


@pytest.mark.parametrize("values", [5, {}, {"model": {}}, {"model": {}, "views": {"size": "big"}},
                                    {"model": {"wdth": 1}, "views": {"size": 32}},
                                    {"model": {"width": 0.5}, "views": {"size": 32}}])  # fmt: skip
def test_a_damaged_config_is_refused(values, copied):
    (copied / "config.json").write_text(json.dumps(values))
    with pytest.raises(CodialError, match=r"mine/(config\.json|checkpoints/last\.safetensors)"):
        codial.load_backbone(copied)


def test_missing_and_damaged_files_and_layers_are_refused(copied, tmp_path):
    with pytest.raises(CodialError, match=r"Layers are .*'conv9'.*; expected some of conv1, .*fc7, the layers of this"):
        codial.load_backbone(copied).features(torch.ones(1, 3, 32, 32), layers=["conv9"])
    with pytest.raises(CodialError, match="nowhere is not a run"):
        codial.load_backbone(tmp_path / "nowhere")
    with pytest.raises(CodialError, match="only models on the hub"):
        codial.load_backbone(copied, revision="v1")
    path = copied / "checkpoints/last.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:1000], b"", b"PK\x03\x04 a pickle"):
        path.write_bytes(damaged)
        with pytest.raises(CodialError, match=r"last\.safetensors"):
            codial.load_backbone(copied)
    path.unlink()
    with pytest.raises(CodialError, match="has no 'last' checkpoint"):
        codial.load_backbone(copied)


def test_the_hubs_model_is_the_export_and_nothing_else_is_downloaded(exported, hub):
    push(exported, "me/birds")
    hub.models["me/birds"] |= {"pytorch_model.bin": b"\x80\x04 a pickle", "backbone.pt2": b"PK"}
    backbone = codial.load_backbone("hf:me/birds")
    expected = codial.load_backbone(exported).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in backbone.state_dict().items())
    names = {path.split("/", 5)[5] for path in hub.downloads}
    assert names >= {"config.json", "provenance.json", "checkpoints/last.safetensors"}
    assert {name for name in names if not name.endswith(".json")} == {"checkpoints/last.safetensors"}


def test_without_a_network_the_cache_is_used(exported, hub, monkeypatch):
    from huggingface_hub import constants

    push(exported, "me/birds")
    codial.load_backbone("hf:me/birds")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert codial.load_backbone("hf:me/birds").layers[-1] == "fc7"
    with pytest.raises(CodialError, match="hf:me/other cannot be downloaded: there is no connection"):
        codial.load_backbone("hf:me/other")


def test_what_the_hub_lacks_is_named(exported, hub):
    push(exported, "me/birds")
    with pytest.raises(CodialError, match="hf:me/nothing cannot be downloaded: there is no such model"):
        codial.load_backbone("hf:me/nothing")
    with pytest.raises(CodialError, match="hf:me/birds cannot be downloaded: there is no such revision"):
        codial.load_backbone("hf:me/birds", revision="v9")
    for name in ("hf:birds", "hf:", "hf:a/b/c", "hf:../birds"):
        with pytest.raises(CodialError, match="expected USER/NAME"):
            codial.load_backbone(name)
    hub.models["me/bert"] = {"config.json": b"{}", "model.safetensors": b""}
    with pytest.raises(CodialError, match="hf:me/bert was not uploaded by `codial push`"):
        codial.load_backbone("hf:me/bert")


def test_without_the_package_there_is_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CodialError, match=r"hf:me/birds needs huggingface_hub .*: pip install 'codial\[hf\]'\."):
        codial.load_backbone("hf:me/birds")
