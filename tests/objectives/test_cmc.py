from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from torch.nn.functional import normalize

import codial
from codial import config as configs
from codial import sample_views
from codial.config import CmcOptions
from codial.errors import CodialError
from codial.models import LabHalves
from codial.objectives import Batch, Cmc, Draws, build
from codial.ranks import Ranks


@pytest.fixture(scope="module")
def config(tiny):
    """Three steps an epoch."""
    views, objective = replace(tiny.views, primary=("turn0",)), CmcOptions(negatives=16, dims=8)
    return replace(tiny, name="halves", objective=objective, views=views)


@pytest.fixture
def cmc_of(config, seed):
    def make(**options):
        torch.manual_seed(seed)
        found = build(replace(config, objective=replace(config.objective, **options)), classes=8, pictures=24)
        assert isinstance(found, Cmc)
        return found

    return make


@pytest.fixture
def batch_of(config, few, seed):
    """The same views, and the same draws for a seed."""

    def make(indices, noise=seed):
        views = sample_views(few.batch(indices), config.views, torch.Generator().manual_seed(seed))
        draws = Draws(torch.Generator().manual_seed(noise), len(indices))
        return Batch(views, torch.full((len(indices),), -1), 0.0, draws, torch.tensor(indices))

    return make


OWN = [5, 11, 2, 23, 14, 9]


@pytest.mark.parametrize("loss", ["nce", "infonce"])
def test_each_half_is_told_in_the_others_memory_and_remembered_in_its_own(loss, cmc_of, batch_of, seed):
    system = cmc_of(loss=loss).train()
    banks = system.lightness_bank.memory.clone(), system.colour_bank.memory.clone()
    batch = batch_of(OWN)
    half = system.trunk.features // 2
    features = system.trunk(batch.views.images[:, 0])
    lightness = normalize(system.lightness(features[:, :half]))
    colour = normalize(system.colour(features[:, half:]))
    drawn = torch.randint(0, 24, (6, 16), generator=torch.Generator().manual_seed(seed))
    expected, right = [], []
    for vectors, bank in ((lightness, banks[1]), (colour, banks[0])):
        own = (vectors * bank[OWN]).sum(1, keepdim=True)
        scores = torch.cat((own, torch.stack([bank[d] @ v for d, v in zip(drawn, vectors, strict=True)])), 1) / 0.07
        p, rate = scores.exp() / (24 * scores.exp().mean()), 16 / 24
        nce = -(p[:, 0] / (p[:, 0] + rate)).log().sum() - (rate / (p[:, 1:] + rate)).log().sum()
        expected.append(nce / 6 if loss == "nce" else -scores.log_softmax(1)[:, 0].mean())
        right.append((scores[:, :1] >= scores).all(1).float().mean())
    terms = system.terms(batch)
    torch.testing.assert_close(terms["loss_lightness"], expected[0])
    torch.testing.assert_close(terms["loss_colour"], expected[1])
    torch.testing.assert_close(terms["loss"], sum(expected))
    assert terms["pretext_accuracy"].item() == pytest.approx(float(sum(right)) / 2)
    assert set(terms) == {"loss", "loss_lightness", "loss_colour", "pretext_accuracy"}
    for bank, before, vectors in (
        (system.lightness_bank, banks[0], lightness),
        (system.colour_bank, banks[1], colour),
    ):
        torch.testing.assert_close(bank.memory[OWN], normalize(0.5 * before[OWN] + 0.5 * vectors.detach()))


def test_nothing_is_remembered_in_evaluation_mode(cmc_of, batch_of):
    system = cmc_of().eval()
    before = system.lightness_bank.memory.clone()
    system.terms(batch_of(OWN))
    assert torch.equal(system.lightness_bank.memory, before)


def test_several_processes_remember_the_same_and_draw_their_share(cmc_of, batch_of, few, config, monkeypatch):
    """Each of two processes with half of a batch, in evaluation mode and with a fixed Z, against one with all of it."""
    system = cmc_of().eval()
    for bank in (system.lightness_bank, system.colour_bank):
        bank.constant.fill_(50.0)
    whole, found = batch_of(OWN), []
    expected = system.terms(whole)["loss"]
    monkeypatch.setattr(Ranks, "mean", lambda self, x: x)
    for rank in range(2):
        rows = Ranks(rank, 2).rows(6)
        generator = torch.Generator().manual_seed(whole.draws.generator.initial_seed())
        images = whole.views._replace(images=whole.views.images[rows])
        batch = whole._replace(views=images, indices=whole.indices[rows], draws=Draws(generator, 3, Ranks(rank, 2)))
        found.append(system.terms(batch)["loss"])
    torch.testing.assert_close(sum(found) / 2, expected)


@pytest.mark.parametrize("loss", ["nce", "infonce"])
def test_steps_lower_the_loss_of_a_fixed_batch_and_reach_every_parameter(loss, cmc_of, batch_of):
    system = cmc_of(loss=loss).train()
    optimiser, losses = torch.optim.AdamW(system.parameters(), lr=1e-3), []
    for _ in range(8):
        terms = system.terms(batch_of(list(range(12))))
        losses.append(terms["loss"].item())
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    assert [name for name, p in system.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert losses[-1] < losses[0] - 0.5


# Runs


@pytest.fixture(scope="module")
def whole(config, few, tmp_path_factory):
    return go(config, tmp_path_factory.mktemp("whole") / "run", few)


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_run_stopped_within_an_epoch_or_at_its_beginning_resumes_to_the_same_numbers(
    step, config, whole, few, tmp_path
):
    assert go(config, tmp_path / "run", few, stop=stopping_after(step)).progress["step"] == step
    assert_same_run(go(config, tmp_path / "run", few), whole)


def test_probes_read_both_halves_of_a_run(whole, few):
    trunk = whole.trunk()
    assert isinstance(trunk, LabHalves)
    assert codial.evaluate.features(trunk, few, "fc7", progress=False).shape == (24, trunk.features)
    config = codial.evaluate.ProbeConfig(layers=("conv5",), epochs=2)
    report = codial.probe(trunk, few, few, config, progress=False)
    assert 0 <= report.mean("conv5") <= 100


# Refusals


def test_other_views_are_refused(tiny, config):
    with pytest.raises(CodialError, match=r"^views.primary is .*'warp'\); expected turn0 alone: cmc has one view"):
        replace(config, views=tiny.views)
    assert configs.override(tiny, {"objective.system": "cmc", "views.primary": "turn0"})


def test_too_few_pictures_are_refused(config):
    with pytest.raises(CodialError, match=r"^CMC remembers each picture of the set; pictures is 1, expected 2 or more"):
        build(config, classes=8, pictures=1)


@pytest.mark.parametrize(
    ("name", "outside"),
    [("loss", "softmax"), ("negatives", 0), ("dims", 0), ("temperature", 0.01), ("bank_momentum", 1.0)],
)
def test_options_out_of_range_are_refused(name, outside):
    with pytest.raises(CodialError, match=rf"^objective.{name} is .*; expected "):
        CmcOptions(**{name: outside})
