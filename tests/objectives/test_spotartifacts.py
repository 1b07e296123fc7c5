import re
from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from torch import nn
from torch.nn.functional import binary_cross_entropy, log_softmax

from codial import config as configs
from codial import sample_views
from codial.checkpoints import read_tensors
from codial.config import SpotArtifactsOptions
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives import Batch, Draws, SpotArtifacts, build
from codial.ranks import Ranks

AUTOENCODER, SPOTTER = ("autoencoder.",), ("trunk.", "classifier.", "mask_head.")


@pytest.fixture(scope="module")
def config(tiny):
    """Three steps an epoch; one epoch of the autoencoder, two of the others."""
    views, objective = replace(tiny.views, primary=("turn0",)), SpotArtifactsOptions(autoencoder_part=0.4, width=0.25)
    return replace(tiny, name="artifacts", objective=objective, views=views, train=replace(tiny.train, epochs=3))


@pytest.fixture
def system(config, seed):
    torch.manual_seed(seed)
    found = build(config, classes=8)
    assert isinstance(found, SpotArtifacts)
    return found


@pytest.fixture
def batch_of(config, few, seed):
    """The same views, and the same draws."""

    def make(count, stage=1, size=32, ranks=Ranks()):  # noqa: B008
        indices = list(range(count))
        views = sample_views(few.batch(indices), replace(config.views, size=size), torch.Generator().manual_seed(seed))
        draws = Draws(torch.Generator().manual_seed(seed), count, ranks)
        return Batch(views, torch.full((count,), -1), 0.0, draws, torch.tensor(indices), stage)

    return make


@pytest.fixture
def seen(system, monkeypatch):
    """What the trunk is shown, step after step."""
    shown, taps = [], system.trunk.taps

    def watched(images, names):
        shown.append(images.detach().clone())
        return taps(images, names)

    monkeypatch.setattr(system.trunk, "taps", watched)
    return shown


# Pictures


def test_with_nothing_dropped_repaired_is_autoencoded_in_training(system, batch_of, seen, monkeypatch):
    """Bit for bit, although the trainer puts all networks into training mode before each step."""
    system.train().terms(batch_of(8, stage=0))  # statistics that are not those of the start
    monkeypatch.setattr(Draws, "uniform", lambda self, *shape: torch.zeros(self.whole, *shape))
    batch = batch_of(8)
    system.train().terms(batch)
    real, repaired = seen[0].chunk(2)
    assert torch.equal(real, repaired)
    autoencoder, plain = system.autoencoder.eval(), batch.views.images[:, 0]
    assert torch.equal(real, autoencoder.decode(autoencoder.encode(plain)))


def test_pictures_are_those_that_the_trunk_sees(system, batch_of, seen):
    system.train().terms(batch_of(8, stage=0))
    made = system.pictures(batch_of(8))
    system.eval().terms(batch_of(8))
    assert torch.equal(torch.cat((made.autoencoded, made.repaired)), seen[0])
    assert torch.equal(made.plain, batch_of(8).views.images[:, 0])
    assert made.mask.shape == (8, 1, 2, 2)
    for one, other in ((made.autoencoded, made.damaged), (made.damaged, made.repaired)):
        changed = (one != other).flatten(1).any(1)
        assert torch.equal(changed, (made.mask == 0).flatten(1).any(1))


def test_three_cells_in_ten_are_kept_each_picture_having_a_mask_of_its_own(system, config, few, seed):
    code, draws = torch.zeros(400, 5, 4, 4), Draws(torch.Generator().manual_seed(seed), 400)
    mask = system._mask(code, draws)
    assert mask.shape == (400, 1, 4, 4)
    assert mask.unique().tolist() == [0, 1]
    assert mask.mean().item() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 6400) ** 0.5)
    assert len(mask.flatten(1).unique(dim=0)) > 350
    assert not torch.equal(system._mask(code, draws), mask)


# Terms


def test_the_autoencoder_alone_learns_in_the_first_stage(system, batch_of):
    batch = batch_of(8, stage=0)
    terms = system.train().terms(batch)
    plain = batch.views.images[:, 0]
    made = system.autoencoder.decode(system.autoencoder.encode(plain))
    expected = 30 * ((2 * made - 1) - (2 * plain - 1)).square().mean()
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["loss_autoencoder"] is terms["loss"]
    assert set(terms) == {"loss", "loss_autoencoder"}


def test_terms_are_those_of_the_original(system, batch_of, seen):
    """Written out from what the trunk saw: real is class 1, and every cell of a real picture is kept."""
    batch = batch_of(12)
    terms = system.train().terms(batch)
    both, plain = seen[0], batch.views.images[:, 0]
    mask = system.pictures(batch_of(12)).mask
    taps = system.train().trunk.taps(both, ("conv5", "fc7"))
    chances = log_softmax(system.classifier(taps["fc7"]), 1)
    told = system.mask_head(taps["conv5"]).sigmoid()
    spotted = -(chances[:12, 1].sum() + chances[12:, 0].sum()) / 24
    fooled = -(chances[:12, 0].sum() + chances[12:, 1].sum()) / 24
    by_mask = binary_cross_entropy(told, torch.cat((torch.ones(12, 1, 2, 2), mask)))
    kept = mask.repeat_interleave(16, 2).repeat_interleave(16, 3).expand(-1, 3, -1, -1) == 1
    error = (2 * (both[12:] - plain))[kept].square().mean()
    assert abs(spotted - fooled) > 0.01
    torch.testing.assert_close(terms["loss"], spotted + 0.1 * by_mask)
    torch.testing.assert_close(terms["loss_repair"], fooled + 30 * error)
    torch.testing.assert_close(terms["loss_mask"], by_mask)
    right = torch.cat((chances[:12, 1] > chances[:12, 0], chances[12:, 0] > chances[12:, 1]))
    assert terms["pretext_accuracy"].item() == pytest.approx(right.float().mean().item())
    cells = (told[12:] > 0.5) == (mask == 1)
    assert terms["mask_accuracy"].item() == pytest.approx(cells.float().mean().item())
    assert set(terms) == {"loss", "loss_repair", "loss_mask", "pretext_accuracy", "mask_accuracy"}


def step(system, term, optimiser, batch):
    system.train()
    terms = system.terms(batch)
    minimised = [p for group in optimiser.param_groups for p in group["params"]]
    optimiser.zero_grad()
    terms[term].backward(inputs=minimised)
    optimiser.step()
    return {name: value.item() for name, value in terms.items()}


def test_the_trunk_and_the_repair_network_pull_in_opposite_directions(system, config, batch_of):
    """Against a fixed opponent: the trunk learns to tell both kinds and the mask, then repair learns to mislead it."""
    system.options = replace(system.options, error_weight=0.0)
    optimisers = system.optimisers(replace(config.train, lr=2e-3))
    told = [step(system, "loss", optimisers["loss"], batch_of(16)) for _ in range(25)]
    assert told[-1]["loss"] < told[0]["loss"] - 0.3
    assert told[-1]["loss_mask"] < told[0]["loss_mask"] - 0.1
    assert told[-1]["pretext_accuracy"] > 0.9
    misled = [step(system, "loss_repair", optimisers["loss_repair"], batch_of(16)) for _ in range(25)]
    assert misled[-1]["loss_repair"] < misled[0]["loss_repair"] - 0.3
    assert misled[-1]["loss"] > misled[0]["loss"] + 0.3
    assert misled[-1]["pretext_accuracy"] < misled[0]["pretext_accuracy"] - 0.2


def test_what_is_kept_is_to_stay_like_the_picture_and_what_was_dropped_is_free(system, batch_of):
    """The gradient of the squared error with respect to a repaired picture."""
    plain = batch_of(4).views.images[:, 0]
    made = torch.full_like(plain, 0.5).requires_grad_()
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).expand(4, 1, 2, 2)
    counted = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    system._error(made, plain, counted, Ranks()).backward()
    assert not made.grad[:, :, 16:].any()
    expected = 30 * 2 * 4 * (0.5 - plain[:, :, :16]) / (4 * 3 * 16 * 32)
    torch.testing.assert_close(made.grad[:, :, :16], expected)
    assert system._error(made, plain, torch.zeros_like(counted), Ranks()) == 0  # a batch of which nothing was kept


def test_every_parameter_has_one_optimiser_and_learns(system, config, batch_of):
    optimisers = system.optimisers(config.train)
    groups = {name: [p for g in o.param_groups for p in g["params"]] for name, o in optimisers.items()}
    assert sorted(id(p) for group in groups.values() for p in group) == sorted(map(id, system.parameters()))
    parts = {
        "loss": nn.ModuleList((system.trunk, system.classifier, system.mask_head)),
        "loss_repair": system.repair,
        "loss_autoencoder": system.autoencoder,
    }
    for name, part in parts.items():
        assert {id(p) for p in groups[name]} == {id(p) for p in part.parameters()}
        system.zero_grad()
        terms = system.train().terms(batch_of(8, stage=int(name != "loss_autoencoder")))
        terms[name].backward(inputs=groups[name])
        assert [p.shape for p in groups[name] if p.grad is None or not p.grad.any()] == []


def test_no_gradient_is_computed_for_the_frozen_autoencoder(system, batch_of):
    terms = system.train().terms(batch_of(8))
    (terms["loss"] + terms["loss_repair"]).backward()
    assert {p.grad is None for p in system.autoencoder.parameters()} == {True}
    assert {p.grad is None for p in system.repair.parameters()} == {False}
    system.train().terms(batch_of(8, stage=0))["loss"].backward()
    assert {p.grad is None for p in system.autoencoder.parameters()} == {False}


def test_the_autoencoder_alone_may_learn_faster(config, seed):
    system = build(replace(config, objective=replace(config.objective, autoencoder_rate=5.0)), classes=8)
    rates = {name: o.param_groups[0]["lr"] for name, o in system.optimisers(config.train).items()}
    lr = config.train.lr
    assert rates == pytest.approx({"loss": lr, "loss_repair": lr, "loss_autoencoder": 5 * lr})


def test_processes_count_the_pixels_that_all_of_them_kept(system, batch_of, monkeypatch):
    """Two processes' errors have the mean that one process finds, though one of them kept more."""
    plain = batch_of(8).views.images[:, 0]
    made = torch.full_like(plain, 0.5)
    counted = torch.zeros_like(plain[:, :1])
    counted[:2], counted[4:, :, :8] = 1, 1
    whole = system._error(made, plain, counted, Ranks())
    monkeypatch.setattr(Ranks, "mean", lambda self, x: counted.sum() / 2)
    halves = [system._error(made[rows], plain[rows], counted[rows], Ranks()) for rows in (slice(4), slice(4, 8))]
    torch.testing.assert_close(sum(halves) / 2, whole)


# Runs


@pytest.fixture(scope="module")
def whole(config, few, tmp_path_factory):
    return go(config, tmp_path_factory.mktemp("whole") / "run", few)


def weights(run):
    tensors = read_tensors(run.folder / "checkpoints" / "last.safetensors", "model.")
    return {name.removeprefix("model."): values for name, values in tensors.items()}


def test_each_stage_changes_its_own_networks_and_leaves_the_others_as_they_are(config, whole, few, tmp_path):
    """Parameters and batch norm's statistics, bit for bit."""
    start = weights(go(config, tmp_path / "run", few, stop=stopping_after(0)))
    between = weights(go(config, tmp_path / "run", few, stop=stopping_after(3)))
    end = weights(whole)

    def changed(before, after):
        return {name for name in before if not torch.equal(before[name], after[name])}

    own = {name for name in start if name.startswith(AUTOENCODER)}
    assert any("running_mean" in name for name in own)
    assert changed(start, between) == own
    assert changed(between, end) == set(start) - own


def test_each_line_of_history_is_of_one_stage(whole):
    """Lines come every two steps, and the first stage ends after three."""
    lines = [line for line in whole.history if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 8, 9]
    for line in lines:
        assert ("loss_autoencoder" in line) == (line["step"] <= 3)
        opponents = {"loss_repair", "loss_mask", "pretext_accuracy", "mask_accuracy"}
        assert (opponents & set(line)) == (set() if line["step"] <= 3 else opponents)
    assert isinstance(whole.trunk(), AlexNet)


@pytest.mark.parametrize("step", [0, 1, 3, 5])
def test_a_run_stopped_in_either_stage_or_between_resumes_to_the_same_numbers(step, config, whole, few, tmp_path):
    assert go(config, tmp_path / "run", few, stop=stopping_after(step)).progress["step"] == step
    assert_same_run(go(config, tmp_path / "run", few), whole)


# Refusals


def test_other_views_are_refused(tiny, config):
    with pytest.raises(CodialError, match=r"^views.primary is .*'warp'\); expected turn0 alone: spotartifacts has one"):
        replace(config, views=tiny.views)
    assert configs.override(tiny, {"objective.system": "spotartifacts", "views.primary": "turn0"})


@pytest.mark.parametrize("size", [16, 40, 72])
def test_sizes_whose_grids_do_not_match_are_refused(size, config):
    with pytest.raises(CodialError, match=rf"^views.size is {size}; expected a multiple of 16, 32 or more: "):
        configs.override(config, {"views.size": size})


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_conv5_and_the_code_have_the_same_grid(size, config, batch_of):
    config = configs.override(config, {"views.size": size})
    system = build(config, classes=8).eval()
    code = system.autoencoder.encode(torch.rand(2, 3, size, size))
    cells = system.mask_head(system.trunk.taps(torch.rand(2, 3, size, size), ("conv5",))["conv5"])
    assert cells.shape == (2, 1, *code.shape[2:])
    assert set(system.terms(batch_of(4, size=size))) > {"loss", "loss_mask"}


def test_the_classic_trunk_is_refused(config):
    message = "model.resolution is 'full'; expected low: with 'full', conv5 has a row and a column less than"
    with pytest.raises(CodialError, match=re.escape(message)):
        configs.override(config, {"views.size": 224, "model.resolution": "full"})


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("autoencoder_part", 0.0),
        ("autoencoder_part", 1.0),
        ("keep", 0.0),
        ("keep", 1.0),
        ("width", 0.01),
        ("autoencoder_rate", 0.0),
        ("mask_weight", -0.1),
        ("error_weight", -1.0),
    ],
)
def test_options_out_of_range_are_refused(name, outside):
    with pytest.raises(CodialError, match=rf"^objective.{name} is {outside}; expected a "):
        SpotArtifactsOptions(**{name: outside})


def test_fewer_epochs_than_stages_are_refused(config, few, tmp_path):
    with pytest.raises(CodialError, match=r"^train.epochs is 1; expected at least 2, one for each stage"):
        go(configs.override(config, {"train.epochs": 1}), tmp_path / "run", few)
