from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch.nn.functional import normalize

import codial
from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.cmc import Cmc, CmcConfig
from codial.models import LabAlexNet
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup


@pytest.fixture(scope="module")
def config(tiny):
    """Three steps per epoch."""
    views, method = replace(tiny.views, primary=("rot0",)), CmcConfig(negatives=16, dims=8)
    return replace(tiny, name="cmc", method=method, views=views)


@pytest.fixture
def cmc_of(config, seed):
    def make(**options):
        torch.manual_seed(seed)
        method = build(replace(config, method=replace(config.method, **options)), classes=8, images=24)
        assert isinstance(method, Cmc)
        return method

    return make


@pytest.fixture
def batch_of(config, few, seed):
    """Return a function that makes batches with the same views, and noise of a given seed."""

    def make(indices, noise=seed):
        views = sample_views(few.batch(indices), config.views, torch.Generator().manual_seed(seed))
        rng = BatchGenerator(torch.Generator().manual_seed(noise), len(indices))
        return Batch(views, torch.full((len(indices),), -1), 0.0, rng, torch.tensor(indices))

    return make


OWN = [5, 11, 2, 23, 14, 9]


@pytest.mark.parametrize("loss", ["nce", "infonce"])
def test_each_half_is_contrasted_with_the_bank_of_the_other_and_updates_its_own(loss, cmc_of, batch_of, seed):
    method = cmc_of(loss=loss).train()
    banks = method.lightness_bank.memory.clone(), method.color_bank.memory.clone()
    batch = batch_of(OWN)
    half = method.backbone.feature_dim // 2
    features = method.backbone(batch.views.images[:, 0])
    lightness = normalize(method.lightness(features[:, :half]))
    color = normalize(method.color(features[:, half:]))
    negatives = torch.randint(0, 24, (6, 16), generator=torch.Generator().manual_seed(seed))
    expected, accuracies = [], []
    for vectors, bank in ((lightness, banks[1]), (color, banks[0])):
        own = (vectors * bank[OWN]).sum(1, keepdim=True)
        scores = torch.cat((own, torch.stack([bank[n] @ v for n, v in zip(negatives, vectors, strict=True)])), 1) / 0.07
        p, rate = scores.exp() / (24 * scores.exp().mean()), 16 / 24
        nce = -(p[:, 0] / (p[:, 0] + rate)).log().sum() - (rate / (p[:, 1:] + rate)).log().sum()
        expected.append(nce / 6 if loss == "nce" else -scores.log_softmax(1)[:, 0].mean())
        accuracies.append((scores[:, :1] >= scores).all(1).float().mean())
    terms = method.terms(batch)
    torch.testing.assert_close(terms["loss_lightness"], expected[0])
    torch.testing.assert_close(terms["loss_color"], expected[1])
    torch.testing.assert_close(terms["loss"], sum(expected))
    assert terms["pretext_accuracy"].item() == pytest.approx(float(sum(accuracies)) / 2)
    assert set(terms) == {"loss", "loss_lightness", "loss_color", "pretext_accuracy"}
    for bank, before, vectors in (
        (method.lightness_bank, banks[0], lightness),
        (method.color_bank, banks[1], color),
    ):
        torch.testing.assert_close(bank.memory[OWN], normalize(0.5 * before[OWN] + 0.5 * vectors.detach()))


def test_banks_do_not_change_in_evaluation_mode(cmc_of, batch_of):
    method = cmc_of().eval()
    before = method.lightness_bank.memory.clone()
    method.terms(batch_of(OWN))
    assert torch.equal(method.lightness_bank.memory, before)


def test_the_mean_loss_of_two_processes_is_that_of_one(cmc_of, batch_of, few, config, monkeypatch):
    """Each has half of the batch, in evaluation mode and with a fixed Z."""
    method = cmc_of().eval()
    for bank in (method.lightness_bank, method.color_bank):
        bank.constant.fill_(50.0)
    complete, losses = batch_of(OWN), []
    expected = method.terms(complete)["loss"]
    monkeypatch.setattr(ProcessGroup, "mean", lambda self, x: x)
    for rank in range(2):
        rows = ProcessGroup(rank, 2).shard(6)
        generator = torch.Generator().manual_seed(complete.rng.generator.initial_seed())
        views = complete.views._replace(images=complete.views.images[rows])
        batch = complete._replace(
            views=views, indices=complete.indices[rows], rng=BatchGenerator(generator, 3, ProcessGroup(rank, 2))
        )
        losses.append(method.terms(batch)["loss"])
    torch.testing.assert_close(sum(losses) / 2, expected)


@pytest.mark.parametrize("loss", ["nce", "infonce"])
def test_steps_lower_the_loss_of_a_fixed_batch_and_reach_every_parameter(loss, cmc_of, batch_of):
    method = cmc_of(loss=loss).train()
    optimizer, losses = torch.optim.AdamW(method.parameters(), lr=1e-3), []
    for _ in range(8):
        terms = method.terms(batch_of(list(range(12))))
        losses.append(terms["loss"].item())
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert losses[-1] < losses[0] - 0.5


# Runs


@pytest.fixture(scope="module")
def run(config, few, tmp_path_factory):
    return pretrain_quietly(config, tmp_path_factory.mktemp("cmc") / "run", few)


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_run_resumes_to_the_same_numbers(step, config, run, few, tmp_path):
    assert pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(step)).progress["step"] == step
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), run)


def test_a_run_can_be_probed_at_both_halves(run, few):
    backbone = run.backbone()
    assert isinstance(backbone, LabAlexNet)
    assert codial.evaluate.features(backbone, few, "fc7", progress=False).shape == (24, backbone.feature_dim)
    config = codial.evaluate.ProbeConfig(layers=("conv5",), epochs=2)
    report = codial.probe(backbone, few, few, config, progress=False)
    assert 0 <= report.mean("conv5") <= 100


# Errors


def test_too_few_images_are_refused(config):
    with pytest.raises(
        CodialError, match=r"^CMC keeps a vector for each image of the data set; got 1 images, expected >= 2"
    ):
        build(config, classes=8, images=1)
