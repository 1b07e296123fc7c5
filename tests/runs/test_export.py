"""Exported weights: a folder that can be opened as a run or a backbone, by default with the layers of maps only."""

import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import codial
from codial.errors import CodialError
from codial.experiments import open_runs
from codial.models.alexnet import CONV_LAYERS, LAYERS
from codial.runs.export import export
from codial.runs.model_card import model_card
from codial.runs.publish import WEIGHTS
from codial.utils.paths import project_path

FAST = codial.ProbeConfig(layers=("conv2", "conv5"), dims=64, epochs=2, seeds=(0, 1))


def _trained(method, backbone, folder):
    """A finished run of 24 images of 32 pixels."""
    changed = {"data.limit": 24, "views.size": 32, "model.width": 0.1, "train.epochs": 1, "train.batch": 12}
    config = codial.override(codial.preset(f"{method}/photos"), changed | {"model.backbone": backbone})
    return codial.pretrain(config, folder / "photos" / method, progress=False)


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
    run = _trained(method, "alexnet", tmp_path)
    backbone = codial.open_run(export(run, tmp_path / "out")).backbone()
    images = torch.rand(2, 3, 32, 32)
    with pytest.raises(
        CodialError, match=r"has no weights beyond conv5, whose activations are maps; call backbone\.feat"
    ):
        backbone(images)
    for compute in (lambda x: backbone.features(x, ("conv1", "fc6")), lambda x: backbone.maps(x, "fc7")):
        with pytest.raises(CodialError, match=r"Layers are \[.*fc.\'\]; expected some of conv1, .*, conv5, the"):
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
    assert codial.retrieve(exported, few, few, k=3, progress=False).layer == "conv5"  # the last that is there
    with pytest.raises(CodialError, match="expected some of conv1"):
        codial.retrieve(exported, few, few, k=3, layer="fc7", progress=False)


@pytest.mark.parametrize("backbone", ["alexnet", "resnet18"])
@pytest.mark.parametrize("layers", ["maps", "all"])
def test_in_full_precision_it_is_the_same_bit_for_bit(layers, backbone, tiny, few, tmp_path):
    run = _trained("codial", backbone, tmp_path)
    original, exported = (
        run.backbone(),
        codial.load_backbone(export(run, tmp_path / "out", layers=layers, precision="full")),
    )
    kept = original.layers if layers == "all" or backbone == "resnet18" else CONV_LAYERS
    assert exported.layers == kept
    assert not exported.training
    assert exported.state_dict().keys() == original.state_dict().keys()
    for name, tensor in exported.state_dict().items():
        if not {"fc6", "fc7"} & set(name.split(".")) or layers == "all":
            assert torch.equal(tensor, original.state_dict()[name]), name
    images = torch.rand(3, 3, 32, 32)
    activations = exported.features(images)
    assert tuple(activations) == kept
    for layer, expected in original.features(images, kept).items():
        assert torch.equal(activations[layer], expected)
    if kept == original.layers:
        assert torch.equal(exported(images), original(images))


def test_all_layers_in_half_precision_are_rounded_once(probed, tmp_path):
    run, _ = probed
    folder = export(run, tmp_path, layers="all")
    original = run.backbone().state_dict()
    for name, tensor in codial.load_backbone(folder).state_dict().items():
        expected = original[name].half().float() if original[name].is_floating_point() else original[name]
        assert torch.equal(tensor, expected), name
    assert codial.load_backbone(folder).layers == LAYERS


def test_weights_that_float16_cannot_hold_and_unknown_options_are_refused(tiny, few, tmp_path):
    run = _trained("codial", "alexnet", tmp_path)
    path = run.checkpoint()
    tensors = load_file(path)
    tensors["model.backbone.conv1.norm.running_var"][0] = 1e5
    codial.runs.checkpoints.save_checkpoint(path, tensors, run.progress)
    with pytest.raises(CodialError, match="beyond the range of float16"):
        export(run, tmp_path / "out")
    assert export(run, tmp_path / "out", precision="full").exists()
    for options in ({"layers": "conv"}, {"precision": "double"}):
        with pytest.raises(CodialError, match=r"expected (maps or all|half or full)"):
            export(run, tmp_path / "out", **options)


def test_layers_that_an_export_lacks_cannot_be_exported(probed, tmp_path):
    maps = codial.open_run(export(probed[0], tmp_path / "out", precision="full"))
    with pytest.raises(CodialError, match=r"is an export with conv1, .*, conv5 only; export the run itself"):
        export(maps, tmp_path, layers="all")
    again = codial.load_backbone(export(maps, tmp_path, "again"))
    assert again.layers == CONV_LAYERS
    complete = codial.open_run(export(probed[0], tmp_path / "all", layers="all", precision="full"))
    assert codial.load_backbone(export(complete, tmp_path, "third", layers="all")).layers == LAYERS


def test_the_programs_need_no_codial(tmp_path):
    """In a process that cannot import codial, they compute all exported layers of any number of images."""
    made = (("cmc", "alexnet"), ("codial", "resnet18"))
    runs = [_trained(method, backbone, tmp_path) for method, backbone in made]
    folders = [export(run, tmp_path / "out", layers="all", precision="full", program=True) for run in runs]
    images = torch.rand(5, 3, 32, 32)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys; sys.modules['codial'] = None; import torch; torch.set_num_threads(1)\n"
        "images = torch.load(sys.argv[1])\n"
        "programs = [torch.export.load(path).module() for path in sys.argv[3:]]\n"
        "torch.save([[program(images), program(images[:1])] for program in programs], sys.argv[2])"
    )
    files = (tmp_path / "images.pt", tmp_path / "features.pt", *(folder / "backbone.pt2" for folder in folders))
    subprocess.run([sys.executable, "-c", code, *map(str, files)], check=True, timeout=100)
    for run, results in zip(runs, torch.load(files[1]), strict=True):
        for found, batch in zip(results, (images, images[:1]), strict=True):
            with torch.no_grad():
                expected = run.backbone().features(batch)
            assert list(found) == list(expected)
            for layer, activations in found.items():
                torch.testing.assert_close(activations, expected[layer])
    assert 'torch.export.load("backbone.pt2")' in (folders[0] / "README.md").read_text()


def test_a_backbone_that_cannot_be_traced_gets_an_error(probed, tmp_path, monkeypatch):
    def features(self, images, layers=None):
        return original(self, images * float(images.mean() > 0), layers)

    original = codial.models.AlexNet.features
    monkeypatch.setattr(codial.models.AlexNet, "features", features)
    with pytest.raises(CodialError, match=r"torch\.export cannot trace this AlexNet .*; export without program"):
        export(probed[0], tmp_path / "out", program=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_backbone_whose_maps_need_more_than_their_names_say_is_not_cut(tiny, few, tmp_path, monkeypatch):
    """If the layer of vectors also scales the maps, leaving it out is noticed."""

    def features(self, images, layers=None):
        return {name: x * self.fc7[0].weight.mean() for name, x in original(self, images, layers).items()}

    original = codial.models.AlexNet.features
    run = _trained("codial", "alexnet", tmp_path)
    monkeypatch.setattr(codial.models.AlexNet, "features", features)
    with pytest.raises(CodialError, match="Without the weights after the last maps, conv1 changes; export with layers"):
        export(run, tmp_path / "out")
    assert export(run, tmp_path / "out", layers="all").exists()


def test_the_model_card_has_metadata_data_numbers_and_limits(probed, few, tmp_path):
    from huggingface_hub import ModelCard

    run, report = probed
    codial.retrieve(run, few, few, k=3, progress=False)
    folder = export(run, tmp_path, license="mit")
    card = ModelCard.load(folder / "README.md")
    metadata = card.data.to_dict()
    assert metadata["license"] == "mit"
    assert metadata["library_name"] == "codial"
    assert metadata["datasets"] == ["photos"]
    assert metadata["tags"] == ["self-supervised-learning", "codial", "alexnet"]
    values = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert values["top-1 of conv5"] == pytest.approx(report.mean("conv5"), abs=0.01)
    assert values.keys() == {"top-1 of conv2", "top-1 of conv5", "precision at 3 of fc7"}
    assert f"top-1: conv2 {report.mean('conv2'):.1f}, conv5 {report.mean('conv5'):.1f}." in card.text
    parts = (
        "24 of photos/train", "One run", "fc6 and fc7 are not included", few.fingerprint, "float16", "dims 64",
        "| conv5 | [B, 24, 2, 2] |", run.provenance["config_hash"], "precision at 3: fc7",
    )  # fmt: skip
    for part in parts:
        assert part in card.text
    shutil.rmtree(run.folder / "evaluations")
    bare = ModelCard.load(export(run, tmp_path, layers="all", precision="full") / "README.md")
    assert "- not measured" in bare.text
    assert "float32" in bare.text
    assert "not included" not in bare.text
    assert bare.data.license == "unknown"
    assert "model-index" not in bare.data.to_dict()


def test_the_code_in_the_model_card_runs(probed, tmp_path):
    card = (export(probed[0], tmp_path) / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {"images": torch.rand(2, 3, 32, 32)}
    exec(code, names)
    assert f"| conv5 | {['B', *names['features'].shape[1:]]} |".replace("'", "") in card


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("photos", ["photos"]),
        ("hf:user/birds:small#image=photo", ["user/birds"]),
        ("hf:mnist", ["mnist"]),
        ("/home/somebody/photos", None),
        ("hf:/home/somebody/birds", None),
        ("birds", None),
    ],
)
def test_the_card_names_data_sets_but_not_folders(source, expected, probed, tmp_path):
    from huggingface_hub import ModelCard

    path = probed[0].folder / "config.json"
    path.write_text(path.read_text().replace('"source": "photos"', f'"source": "{source}"'))
    folder = export(codial.open_run(path.parent), tmp_path)
    assert ModelCard.load(folder / "README.md").data.to_dict().get("datasets") == expected
    assert "somebody" not in (folder / "README.md").read_text()


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
        maps = codial.load_backbone(folder).features(torch.rand(2, 3, 64, 64), ("conv5",))["conv5"]
    assert maps.isfinite().all()
    assert maps.std() > 0
    assert model_card(run, f"{WEIGHTS}/{folder.name}", "mit") == (folder / "README.md").read_text()
