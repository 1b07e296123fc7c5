"""Weights that are handed on: a folder that opens as a run, with the convolutions alone."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import codial
from codial import comparison
from codial.cli import main
from codial.errors import CodialError
from codial.export import export
from codial.models import CONV_TAPS
from codial.parameters import project_path
from codial.results import WEIGHTS

FAST = codial.ProbeConfig(layers=("conv2", "conv5"), dims=64, epochs=2, seeds=(0, 1))


@pytest.fixture
def probed(tiny_run, few, tmp_path):
    """A copy of a finished run, with a probe's report."""
    shutil.copytree(tiny_run.folder, tmp_path / "photos/tiny", ignore=shutil.ignore_patterns("evaluations"))
    run = codial.open_run(tmp_path / "photos/tiny")
    return run, codial.probe(run, few, few, FAST, progress=False)


def test_its_convolutions_are_those_of_the_run_at_half_precision(probed, few, tmp_path):
    run, _ = probed
    folder = export(run, tmp_path / "out")
    assert folder == tmp_path / "out/tiny-photos"
    theirs = run.trunk().state_dict()
    for name, mine in codial.open_run(folder).trunk().state_dict().items():
        if name.split(".")[0] in CONV_TAPS:
            rounded = theirs[name].half().float() if theirs[name].is_floating_point() else theirs[name]
            assert torch.equal(mine, rounded), name
    kept = load_file(folder / "checkpoints/last.safetensors")
    assert {name.split(".")[2] for name in kept} == set(CONV_TAPS)
    assert {tensor.dtype for tensor in kept.values()} == {torch.float16, torch.int64}


def test_its_features_are_close_to_the_runs(probed, few, tmp_path):
    run, _ = probed
    images = few.batch(torch.arange(4)).float() / 255
    images = torch.nn.functional.interpolate(images, (run.config.views.size,) * 2)
    with torch.no_grad():
        for name, taps in codial.open_run(export(run, tmp_path)).trunk().taps(images, CONV_TAPS).items():
            torch.testing.assert_close(taps, run.trunk().taps(images, (name,))[name], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("system", ["codial", "cmc"])
def test_what_it_has_no_weights_for_is_refused(system, few, tmp_path):
    changed = {"data.limit": 24, "views.size": 32, "model.width": 0.1, "train.epochs": 1, "train.batch": 12}
    config = codial.override(codial.preset(f"{system}/photos"), changed)
    trunk = codial.open_run(export(codial.pretrain(config, tmp_path / "a/b", progress=False), tmp_path / "out")).trunk()
    images = torch.rand(2, 3, 32, 32)
    for ask in (trunk, lambda x: trunk.taps(x, ("conv1", "fc6")), lambda x: trunk.maps(x, "fc7")):
        with pytest.raises(CodialError, match=r"Layers are \[.*fc.\'\]; expected some of conv1, .*, conv5\.$"):
            ask(images)
    with pytest.raises(CodialError, match="expected some of conv1"):
        trunk.dense(torch.rand(1, trunk.maps(images).shape[1], trunk.window, trunk.window))
    assert trunk.taps(images, CONV_TAPS).keys() == set(CONV_TAPS)


def test_it_can_be_probed_and_searched_as_a_run(probed, few, tmp_path):
    run, report = probed
    exported = codial.open_run(export(run, tmp_path))
    assert exported.finished
    again = codial.probe(exported, few, few, FAST, progress=False)
    assert again.mean("conv5") == pytest.approx(report.mean("conv5"), abs=5)  # a picture of 24 is 4 %
    found = codial.retrieve(exported, few, few, k=3, layer="conv5", progress=False)
    assert 0 <= found.precision <= 100
    with pytest.raises(CodialError, match="expected some of conv1"):
        codial.retrieve(exported, few, few, k=3, progress=False)


def test_the_card_has_its_data_hash_numbers_and_limits(probed, few, tmp_path):
    run, report = probed
    told = (export(run, tmp_path) / "README.md").read_text()
    assert f"conv2 {report.mean('conv2'):.1f}, conv5 {report.mean('conv5'):.1f}" in told
    told_of = ("24 pictures of photos/train", "one run", "fc6 and fc7", few.fingerprint, run.provenance["config_hash"])
    for part in told_of:
        assert part in told
    assert f'codial.open_run("{tmp_path / "tiny-photos"}").trunk()`.' in told
    shutil.rmtree(run.folder / "evaluations")
    assert "- not measured" in (export(run, tmp_path) / "README.md").read_text()


def test_a_damaged_one_and_one_that_lacks_a_layer_are_refused(probed, tmp_path):
    folder = export(probed[0], tmp_path)
    path = folder / "checkpoints/last.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CodialError, match="is damaged: its checksum is"):
        codial.open_run(folder).trunk()
    tensors = {
        k: v for k, v in load_file(folder.parent / "photos/tiny/checkpoints/last.safetensors").items() if "conv" in k
    }
    del tensors["model.trunk.conv3.conv.weight"]
    codial.checkpoints.save_checkpoint(path, tensors, {"step": 1, "layers": list(CONV_TAPS)})
    with pytest.raises(CodialError, match=r"conv3\.conv\.weight missing"):
        codial.open_run(folder).trunk()


@pytest.mark.parametrize("layers", [5, ["conv9"], [["conv1"]], {"a": 1}])
def test_layers_that_are_none_are_refused(layers, probed, tmp_path):
    folder = export(probed[0], tmp_path)
    path = folder / "checkpoints/last.safetensors"
    codial.checkpoints.save_checkpoint(path, load_file(path), {"step": 1, "layers": layers})
    with pytest.raises(CodialError, match="of another version of codial: layers is"):
        codial.open_run(folder).trunk()


def test_nothing_of_others_is_overwritten_and_no_half_run_exported(probed, tiny, tmp_path):
    (tmp_path / "out/tiny-photos").mkdir(parents=True)
    with pytest.raises(CodialError, match="no exported one; choose another name"):
        export(probed[0], tmp_path / "out")
    assert not any((tmp_path / "out/tiny-photos").iterdir())
    (tmp_path / "project").mkdir()
    (tmp_path / "project/README.md").write_text("# Thesis")
    shutil.copytree(export(probed[0], tmp_path / "out", "more"), tmp_path / "more")
    (tmp_path / "more/thesis.txt").write_text("years of work")
    for name in ("project", "more"):
        with pytest.raises(CodialError, match="no exported one"):
            export(probed[0], tmp_path, name)
    assert (tmp_path / "project/README.md").read_text() == "# Thesis"
    assert (tmp_path / "more/thesis.txt").exists()
    for name in (".", "..", "a/b", "/tmp"):
        with pytest.raises(CodialError, match="expected the name of a folder"):
            export(probed[0], tmp_path / "out", name)
    exported = codial.open_run(export(probed[0], tmp_path / "out", "good"))
    with pytest.raises(CodialError, match="is the run itself"):
        export(exported, tmp_path / "out", "good")
    assert exported.trunk().layers == CONV_TAPS
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tiny-photos", "more", "good"}  # nothing half done
    begun = codial.runs.create_run(tmp_path / "begun", tiny, {}, "cpu")
    with pytest.raises(CodialError, match="is not finished; only whole runs are exported"):
        export(begun, tmp_path / "out")


def test_notebooks_open_it_by_its_name(probed, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "project_path", lambda path: tmp_path / path)
    folder = export(probed[0], tmp_path / "results/weights")
    assert [run.folder for run in comparison.open_or_pretrain("tiny-photos, photos/tiny").values()] == [
        folder,
        probed[0].folder,
    ]


def test_the_command(probed, tmp_path, capsys):
    assert main(["export", str(probed[0].folder), "--out", str(tmp_path / "out"), "--name", "mine"]) == 0
    assert "conv1 to conv5, 0.1 MB" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/mine/config.json").read_text())["name"] == "tiny"
    assert main(["export", str(tmp_path / "none")]) == 2
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize("folder", sorted(project_path(WEIGHTS).iterdir()), ids=lambda folder: folder.name)
def test_what_is_shipped_opens_and_has_the_numbers_of_the_published_run(folder):
    run = codial.open_run(folder)
    system, scale = run.config.name.split("/")
    published = project_path(f"results/{scale}/{system}")
    for name in ("config.json", "provenance.json", f"probe-{scale}.json"):
        assert (folder / name).read_bytes() == (published / name).read_bytes()
    with torch.no_grad():
        maps = run.trunk().taps(torch.rand(2, 3, 64, 64), ("conv5",))["conv5"]
    assert maps.isfinite().all()
    assert maps.std() > 0
    assert f'codial.open_run("{WEIGHTS}/{folder.name}")' in (folder / "README.md").read_text()
