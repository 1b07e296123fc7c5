import re
from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch import nn
from torch.nn.functional import binary_cross_entropy, log_softmax

from codial import config as configs
from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.spotartifacts import SpotArtifacts, SpotArtifactsConfig
from codial.models import AlexNet
from codial.runs.checkpoints import read_tensors
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup


@pytest.fixture(scope="module")
def config(tiny):
    """Three steps per epoch; one epoch of the autoencoder, two of the adversaries."""
    views, method = replace(tiny.views, primary=("rot0",)), SpotArtifactsConfig(autoencoder_part=0.4, width=0.25)
    return replace(tiny, name="artifacts", method=method, views=views, train=replace(tiny.train, epochs=3))


@pytest.fixture
def method(config, seed):
    torch.manual_seed(seed)
    method = build(config, classes=8)
    assert isinstance(method, SpotArtifacts)
    return method


@pytest.fixture
def batch_of(config, few, seed):
    """Return a function that makes batches of the same views, with the same noise."""

    def make(count, stage=1, size=32, processes=ProcessGroup()):  # noqa: B008
        indices = list(range(count))
        views = sample_views(few.batch(indices), replace(config.views, size=size), torch.Generator().manual_seed(seed))
        rng = BatchGenerator(torch.Generator().manual_seed(seed), count, processes)
        return Batch(views, torch.full((count,), -1), 0.0, rng, torch.tensor(indices), stage)

    return make


@pytest.fixture
def inputs(method, monkeypatch):
    """Return the list of inputs of the backbone."""
    recorded, features = [], method.backbone.features

    def record(images, layers):
        recorded.append(images.detach().clone())
        return features(images, layers)

    monkeypatch.setattr(method.backbone, "features", record)
    return recorded


# Images


def test_without_dropped_cells_repaired_images_are_the_autoencoded_ones(method, batch_of, inputs, monkeypatch):
    """Bit for bit in training mode, in which the frozen autoencoder stays in evaluation mode."""
    method.train().terms(batch_of(8, stage=0))  # so that statistics differ from their initial values
    monkeypatch.setattr(BatchGenerator, "uniform", lambda self, *shape: torch.zeros(self.global_batch, *shape))
    batch = batch_of(8)
    method.train().terms(batch)
    real, repaired = inputs[0].chunk(2)
    assert torch.equal(real, repaired)
    autoencoder, views = method.autoencoder.eval(), batch.views.images[:, 0]
    assert torch.equal(real, autoencoder.decode(autoencoder.encode(views)))


def test_reconstructions_are_the_inputs_of_the_backbone(method, batch_of, inputs):
    method.train().terms(batch_of(8, stage=0))
    images = method.reconstruct(batch_of(8))
    method.eval().terms(batch_of(8))
    assert torch.equal(torch.cat((images.autoencoded, images.repaired)), inputs[0])
    assert torch.equal(images.views, batch_of(8).views.images[:, 0])
    assert images.mask.shape == (8, 1, 2, 2)
    for one, other in ((images.autoencoded, images.damaged), (images.damaged, images.repaired)):
        changed = (one != other).flatten(1).any(1)
        assert torch.equal(changed, (images.mask == 0).flatten(1).any(1))


def test_a_mask_keeps_three_cells_in_ten_and_differs_between_images(method, config, few, seed):
    code, rng = torch.zeros(400, 5, 4, 4), BatchGenerator(torch.Generator().manual_seed(seed), 400)
    mask = method._mask(code, rng)
    assert mask.shape == (400, 1, 4, 4)
    assert mask.unique().tolist() == [0, 1]
    assert mask.mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 6400) ** 0.5)
    assert len(mask.flatten(1).unique(dim=0)) > 350
    assert not torch.equal(method._mask(code, rng), mask)


# Terms


def test_the_loss_of_the_first_stage_is_the_autoencoders_squared_error(method, batch_of):
    batch = batch_of(8, stage=0)
    terms = method.train().terms(batch)
    views = batch.views.images[:, 0]
    decoded = method.autoencoder.decode(method.autoencoder.encode(views))
    expected = 30 * ((2 * decoded - 1) - (2 * views - 1)).square().mean()
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["loss_autoencoder"] is terms["loss"]
    assert set(terms) == {"loss", "loss_autoencoder"}


def test_the_terms_of_the_second_stage_are_those_of_the_original(method, batch_of, inputs):
    """Computed from the inputs of the backbone: real is class 1, and all cells of a real image are kept."""
    batch = batch_of(12)
    terms = method.train().terms(batch)
    both, views = inputs[0], batch.views.images[:, 0]
    mask = method.reconstruct(batch_of(12)).mask
    features = method.train().backbone.features(both, ("conv5", "fc7"))
    log_p = log_softmax(method.classifier(features["fc7"]), 1)
    p_kept = method.mask_head(features["conv5"]).sigmoid()
    backbone_loss = -(log_p[:12, 1].sum() + log_p[12:, 0].sum()) / 24
    repair_loss = -(log_p[:12, 0].sum() + log_p[12:, 1].sum()) / 24
    mask_loss = binary_cross_entropy(p_kept, torch.cat((torch.ones(12, 1, 2, 2), mask)))
    kept = mask.repeat_interleave(16, 2).repeat_interleave(16, 3).expand(-1, 3, -1, -1) == 1
    error = (2 * (both[12:] - views))[kept].square().mean()
    assert abs(backbone_loss - repair_loss) > 0.01
    torch.testing.assert_close(terms["loss"], backbone_loss + 0.1 * mask_loss)
    torch.testing.assert_close(terms["loss_repair"], repair_loss + 30 * error)
    torch.testing.assert_close(terms["loss_mask"], mask_loss)
    correct = torch.cat((log_p[:12, 1] > log_p[:12, 0], log_p[12:, 0] > log_p[12:, 1]))
    assert terms["pretext_accuracy"].item() == pytest.approx(correct.float().mean().item())
    cells = (p_kept[12:] > 0.5) == (mask == 1)
    assert terms["mask_accuracy"].item() == pytest.approx(cells.float().mean().item())
    assert set(terms) == {"loss", "loss_repair", "loss_mask", "pretext_accuracy", "mask_accuracy"}


def step(method, term, optimizer, batch):
    method.train()
    terms = method.terms(batch)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    terms[term].backward(inputs=parameters)
    optimizer.step()
    return {name: value.item() for name, value in terms.items()}


def test_backbone_and_repair_network_are_adversaries(method, config, batch_of):
    """Each against a fixed adversary: the backbone learns both tasks, then the repair network learns to deceive it."""
    method.options = replace(method.options, error_weight=0.0)
    optimizers = method.optimizers(replace(config.train, lr=2e-3))
    first = [step(method, "loss", optimizers["loss"], batch_of(16)) for _ in range(25)]
    assert first[-1]["loss"] < first[0]["loss"] - 0.3
    assert first[-1]["loss_mask"] < first[0]["loss_mask"] - 0.1
    assert first[-1]["pretext_accuracy"] > 0.9
    second = [step(method, "loss_repair", optimizers["loss_repair"], batch_of(16)) for _ in range(25)]
    assert second[-1]["loss_repair"] < second[0]["loss_repair"] - 0.3
    assert second[-1]["loss"] > second[0]["loss"] + 0.3
    assert second[-1]["pretext_accuracy"] < second[0]["pretext_accuracy"] - 0.2


def test_the_error_has_gradients_where_cells_are_kept_only(method, batch_of):
    views = batch_of(4).views.images[:, 0]
    output = torch.full_like(views, 0.5).requires_grad_()
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).expand(4, 1, 2, 2)
    counted = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    method._error(output, views, counted, ProcessGroup()).backward()
    assert not output.grad[:, :, 16:].any()
    expected = 30 * 2 * 4 * (0.5 - views[:, :, :16]) / (4 * 3 * 16 * 32)
    torch.testing.assert_close(output.grad[:, :, :16], expected)
    assert method._error(output, views, torch.zeros_like(counted), ProcessGroup()) == 0, "no cell is kept"


def test_every_parameter_has_one_optimizer_and_a_gradient(method, config, batch_of):
    optimizers = method.optimizers(config.train)
    groups = {name: [p for g in o.param_groups for p in g["params"]] for name, o in optimizers.items()}
    assert sorted(id(p) for group in groups.values() for p in group) == sorted(map(id, method.parameters()))
    parts = {
        "loss": nn.ModuleList((method.backbone, method.classifier, method.mask_head)),
        "loss_repair": method.repair,
        "loss_autoencoder": method.autoencoder,
    }
    for name, part in parts.items():
        assert {id(p) for p in groups[name]} == {id(p) for p in part.parameters()}
        method.zero_grad()
        terms = method.train().terms(batch_of(8, stage=int(name != "loss_autoencoder")))
        terms[name].backward(inputs=groups[name])
        assert [p.shape for p in groups[name] if p.grad is None or not p.grad.any()] == []


def test_no_gradient_is_computed_for_the_frozen_autoencoder(method, batch_of):
    terms = method.train().terms(batch_of(8))
    (terms["loss"] + terms["loss_repair"]).backward()
    assert {p.grad is None for p in method.autoencoder.parameters()} == {True}
    assert {p.grad is None for p in method.repair.parameters()} == {False}
    method.train().terms(batch_of(8, stage=0))["loss"].backward()
    assert {p.grad is None for p in method.autoencoder.parameters()} == {False}


def test_the_autoencoder_can_have_a_higher_learning_rate(config, seed):
    method = build(replace(config, method=replace(config.method, autoencoder_rate=5.0)), classes=8)
    rates = {name: o.param_groups[0]["lr"] for name, o in method.optimizers(config.train).items()}
    lr = config.train.lr
    assert rates == pytest.approx({"loss": lr, "loss_repair": lr, "loss_autoencoder": 5 * lr})


def test_the_mean_error_of_two_processes_is_that_of_one(method, batch_of, monkeypatch):
    """Although one of them keeps more cells."""
    views = batch_of(8).views.images[:, 0]
    output = torch.full_like(views, 0.5)
    counted = torch.zeros_like(views[:, :1])
    counted[:2], counted[4:, :, :8] = 1, 1
    expected = method._error(output, views, counted, ProcessGroup())
    monkeypatch.setattr(ProcessGroup, "mean", lambda self, x: counted.sum() / 2)
    halves = [
        method._error(output[rows], views[rows], counted[rows], ProcessGroup()) for rows in (slice(4), slice(4, 8))
    ]
    torch.testing.assert_close(sum(halves) / 2, expected)


# Runs


@pytest.fixture(scope="module")
def run(config, few, tmp_path_factory):
    return pretrain_quietly(config, tmp_path_factory.mktemp("spotartifacts") / "run", few)


def weights(run):
    tensors = read_tensors(run.folder / "checkpoints" / "last.safetensors", "model.")
    return {name.removeprefix("model."): values for name, values in tensors.items()}


def test_each_stage_changes_its_own_networks_only(config, run, few, tmp_path):
    """Parameters and batch norm's statistics, bit for bit."""
    start = weights(pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(0)))
    between = weights(pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(3)))
    end = weights(run)

    def changed(before, after):
        return {name for name in before if not torch.equal(before[name], after[name])}

    own = {name for name in start if name.startswith("autoencoder.")}
    assert any("running_mean" in name for name in own)
    assert changed(start, between) == own
    assert changed(between, end) == set(start) - own


def test_the_history_has_the_terms_of_each_stage(run):
    """Lines are written every two steps, and after the three steps of the first stage."""
    lines = [line for line in run.history if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 8, 9]
    for line in lines:
        assert ("loss_autoencoder" in line) == (line["step"] <= 3)
        adversarial = {"loss_repair", "loss_mask", "pretext_accuracy", "mask_accuracy"}
        assert (adversarial & set(line)) == (set() if line["step"] <= 3 else adversarial)
    assert isinstance(run.backbone(), AlexNet)


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_run_resumes_to_the_same_numbers(step, config, run, few, tmp_path):
    assert pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(step)).progress["step"] == step
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), run)


# Errors


@pytest.mark.parametrize("size", [16, 40, 72])
def test_sizes_without_a_common_grid_are_refused(size, config):
    with pytest.raises(CodialError, match=rf"^views.size is {size}; expected a multiple of 16, 32 or more: "):
        configs.override(config, {"views.size": size})


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_conv5_and_the_code_have_the_same_grid(size, config, batch_of):
    config = configs.override(config, {"views.size": size})
    method = build(config, classes=8).eval()
    code = method.autoencoder.encode(torch.rand(2, 3, size, size))
    cells = method.mask_head(method.backbone.features(torch.rand(2, 3, size, size), ("conv5",))["conv5"])
    assert cells.shape == (2, 1, *code.shape[2:])
    assert set(method.terms(batch_of(4, size=size))) > {"loss", "loss_mask"}


def test_the_224_pixel_backbone_is_refused(config):
    message = "model.resolution is 'full'; expected low: with 'full', the last maps have a row and a column less than"
    with pytest.raises(CodialError, match=re.escape(message)):
        configs.override(config, {"views.size": 224, "model.resolution": "full"})
