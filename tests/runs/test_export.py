"""Exported weights: a folder that can be opened as a run, with the convolutions only."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import codial
from codial.errors import CodialError
from codial.experiments import open_runs
from codial.models import CONV_LAYERS
from codial.runs.export import export
from codial.runs.publish import WEIGHTS
from codial.utils.paths import project_path

FAST = codial.ProbeConfig(layers=("conv2", "conv5"), dims=64, epochs=2, seeds=(0, 1))


@pytest.fixture
def probed(tiny_run, few, tmp_path):
    """A copy of a finished run with a probe report."""
    shutil.copytree(tiny_run.folder, tmp_path / "photos/tiny", ignore=shutil.ignore_patterns("evaluations"))
    run = codial.open_run(tmp_path / "photos/tiny")
    return run, codial.probe(run, few, few, FAST, progress=False)


def test_the_convolutions_are_those_of_the_run_in_half_precision(probed, few, tmp_path):
    run, _ = probed
    folder = export(run, tmp_path / "out")
    assert folder == tmp_path / "out/tiny-photos"
    original = run.backbone().state_dict()
    for name, exported in codial.open_run(folder).backbone().state_dict().items():
        if name.split(".")[0] in CONV_LAYERS:
            rounded = original[name].half().float() if original[name].is_floating_point() else original[name]
            assert torch.equal(exported, rounded), name
    kept = load_file(folder / "checkpoints/last.safetensors")
    assert {name.split(".")[2] for name in kept} == set(CONV_LAYERS)
    assert {tensor.dtype for tensor in kept.values()} == {torch.float16, torch.int64}


def test_the_features_are_close_to_those_of_the_run(probed, few, tmp_path):
    run, _ = probed
    images = few.batch(torch.arange(4)).float() / 255
    images = torch.nn.functional.interpolate(images, (run.config.views.size,) * 2)
    with torch.no_grad():
        for name, layer_features in (
            codial.open_run(export(run, tmp_path)).backbone().features(images, CONV_LAYERS).items()
        ):
            torch.testing.assert_close(
                layer_features, run.backbone().features(images, (name,))[name], atol=0.02, rtol=0.02
            )


@pytest.mark.parametrize("method", ["codial", "cmc"])
def test_layers_without_weights_are_refused(method, few, tmp_path):
    changed = {"data.limit": 24, "views.size": 32, "model.width": 0.1, "train.epochs": 1, "train.batch": 12}
    config = codial.override(codial.preset(f"{method}/photos"), changed)
    backbone = codial.open_run(
        export(codial.pretrain(config, tmp_path / "a/b", progress=False), tmp_path / "out")
    ).backbone()
    images = torch.rand(2, 3, 32, 32)
    for compute in (backbone, lambda x: backbone.features(x, ("conv1", "fc6")), lambda x: backbone.maps(x, "fc7")):
        with pytest.raises(CodialError, match=r"Layers are \[.*fc.\'\]; expected some of conv1, .*, conv5\.$"):
            compute(images)
    with pytest.raises(CodialError, match="expected some of conv1"):
        backbone.dense(torch.rand(1, backbone.maps(images).shape[1], backbone.window, backbone.window))
    assert backbone.features(images, CONV_LAYERS).keys() == set(CONV_LAYERS)


def test_it_can_be_probed_and_used_for_retrieval(probed, few, tmp_path):
    run, report = probed
    exported = codial.open_run(export(run, tmp_path))
    assert exported.finished
    again = codial.probe(exported, few, few, FAST, progress=False)
    assert again.mean("conv5") == pytest.approx(report.mean("conv5"), abs=5)  # one of 24 images is 4 %
    result = codial.retrieve(exported, few, few, k=3, layer="conv5", progress=False)
    assert 0 <= result.precision <= 100
    with pytest.raises(CodialError, match="expected some of conv1"):
        codial.retrieve(exported, few, few, k=3, progress=False)


def test_the_model_card_has_data_hash_accuracies_and_limits(probed, few, tmp_path):
    run, report = probed
    card = (export(run, tmp_path) / "README.md").read_text()
    assert f"conv2 {report.mean('conv2'):.1f}, conv5 {report.mean('conv5'):.1f}" in card
    parts = ("24 images of photos/train", "one run.", "fc6 and fc7", few.fingerprint, run.provenance["config_hash"])
    for part in parts:
        assert part in card
    assert f'codial.open_run("{tmp_path / "tiny-photos"}").backbone()`.' in card
    shutil.rmtree(run.folder / "evaluations")
    assert "- not measured" in (export(run, tmp_path) / "README.md").read_text()


def test_damaged_weights_and_missing_layers_are_refused(probed, tmp_path):
    folder = export(probed[0], tmp_path)
    path = folder / "checkpoints/last.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CodialError, match="is damaged: its checksum is"):
        codial.open_run(folder).backbone()
    tensors = {
        k: v for k, v in load_file(folder.parent / "photos/tiny/checkpoints/last.safetensors").items() if "conv" in k
    }
    del tensors["model.backbone.conv3.conv.weight"]
    codial.runs.checkpoints.save_checkpoint(path, tensors, {"step": 1, "layers": list(CONV_LAYERS)})
    with pytest.raises(CodialError, match=r"conv3\.conv\.weight missing"):
        codial.open_run(folder).backbone()


@pytest.mark.parametrize("layers", [5, ["conv9"], [["conv1"]], {"a": 1}])
def test_unknown_layers_in_the_metadata_are_refused(layers, probed, tmp_path):
    folder = export(probed[0], tmp_path)
    path = folder / "checkpoints/last.safetensors"
    codial.runs.checkpoints.save_checkpoint(path, load_file(path), {"step": 1, "layers": layers})
    with pytest.raises(CodialError, match="of another version of codial: layers is"):
        codial.open_run(folder).backbone()


def test_other_folders_are_not_overwritten_and_unfinished_runs_not_exported(probed, tiny, tmp_path):
    (tmp_path / "out/tiny-photos").mkdir(parents=True)
    with pytest.raises(CodialError, match="exists and is not an export; use another name"):
        export(probed[0], tmp_path / "out")
    assert not any((tmp_path / "out/tiny-photos").iterdir())
    (tmp_path / "project").mkdir()
    (tmp_path / "project/README.md").write_text("# Thesis")
    shutil.copytree(export(probed[0], tmp_path / "out", "more"), tmp_path / "more")
    (tmp_path / "more/thesis.txt").write_text("years of work")
    for name in ("project", "more"):
        with pytest.raises(CodialError, match="is not an export"):
            export(probed[0], tmp_path, name)
    assert (tmp_path / "project/README.md").read_text() == "# Thesis"
    assert (tmp_path / "more/thesis.txt").exists()
    for name in (".", "..", "a/b", "/tmp"):
        with pytest.raises(CodialError, match="expected the name of a folder"):
            export(probed[0], tmp_path / "out", name)
    exported = codial.open_run(export(probed[0], tmp_path / "out", "good"))
    with pytest.raises(CodialError, match="is the run itself"):
        export(exported, tmp_path / "out", "good")
    assert exported.backbone().layers == CONV_LAYERS
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "tiny-photos",
        "more",
        "good",
    }  # no temporary folder is left
    unfinished = codial.runs.create.create_run(tmp_path / "unfinished", tiny, {}, "cpu")
    with pytest.raises(CodialError, match="is not finished; only finished runs can be exported"):
        export(unfinished, tmp_path / "out")


def test_notebooks_open_it_by_name(probed, tmp_path, monkeypatch):
    monkeypatch.setattr(open_runs, "project_path", lambda path: tmp_path / path)
    folder = export(probed[0], tmp_path / "results/weights")
    assert [run.folder for run in open_runs.open_or_pretrain("tiny-photos, photos/tiny").values()] == [
        folder,
        probed[0].folder,
    ]


@pytest.mark.parametrize("folder", sorted(project_path(WEIGHTS).iterdir()), ids=lambda folder: folder.name)
def test_the_committed_weights_open_and_match_the_published_run(folder):
    run = codial.open_run(folder)
    method, scale = run.config.name.split("/")
    published = project_path(f"results/{scale}/{method}")
    for name in ("config.json", "provenance.json", f"probe-{scale}.json"):
        assert (folder / name).read_bytes() == (published / name).read_bytes()
    with torch.no_grad():
        maps = run.backbone().features(torch.rand(2, 3, 64, 64), ("conv5",))["conv5"]
    assert maps.isfinite().all()
    assert maps.std() > 0
    assert f'codial.open_run("{WEIGHTS}/{folder.name}")' in (folder / "README.md").read_text()
