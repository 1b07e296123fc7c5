import math
from dataclasses import replace
from statistics import mean

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from scipy.stats import kstest
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, normalize, softmax

from codial import load_images, preset, sample_views
from codial.checkpoints import read_tensors
from codial.config import TURNS, DecoupleOptions, override
from codial.errors import CodialError
from codial.objectives import Batch, Decouple, Draws, build, decouple, whole
from codial.ranks import Ranks
from codial.views import plain_view

PICTURES, SET, NEGATIVES, DIMS = 6, 24, 16, 8
PLACES = torch.tensor([3, 20, 7, 0, 11, 23])  # in the set, of the pictures of a batch


@pytest.fixture
def config(tiny):
    options = DecoupleOptions(dims=DIMS, negatives=NEGATIVES)
    return replace(tiny, objective=options, views=replace(tiny.views, primary=TURNS))


@pytest.fixture
def decouple_of(config, seed):
    def make(**options):
        torch.manual_seed(seed)
        return build(replace(config, objective=replace(config.objective, **options)), classes=0, pictures=SET)

    return make


@pytest.fixture
def batch_at(config, few, seed):
    """The same views and the same noise every time."""
    views = sample_views(few.batch(PLACES), config.views, torch.Generator().manual_seed(seed))

    def make(noise=seed, stage=0):
        draws = Draws(torch.Generator().manual_seed(noise), PICTURES)
        return Batch(views, few.labels[PLACES], 0.5, draws, PLACES, stage)

    return make


def halves(objective, batch):
    """Return what the classifier reads [B, 4, F / 2], and the invariant half, likewise."""
    features = objective.trunk(batch.views.images.flatten(0, 1)).view(PICTURES, 4, -1)
    half = features.shape[2] // 2
    return features[..., :half], features[..., half:]


def vectors_of(objective, batch):
    """Return the pictures' vectors, [B, D], one after another."""
    vectors = [objective.projection(each.sum(0) / 4) for each in halves(objective, batch)[1]]
    return torch.stack([vector / vector.square().sum().sqrt() for vector in vectors])


def drawn_places(seed):
    return torch.randint(0, SET, (PICTURES, NEGATIVES), generator=torch.Generator().manual_seed(seed))


def contrasted(vectors, bank, strangers, constant, temperature=0.07):
    """Return the loss of noise-contrastive estimation, from probabilities, place by place, in float64."""
    noise, total = strangers.shape[1] / len(bank), 0.0
    for vector, own, others in zip(vectors.double(), PLACES, strangers, strict=True):
        own_p = math.exp(vector @ bank[own].double() / temperature) / constant
        total -= math.log(own_p / (own_p + noise))
        for other in others:
            p = math.exp(vector @ bank[other].double() / temperature) / constant
            total -= math.log(noise / (p + noise))
    return total / len(vectors)


def constant_of(vectors, bank, strangers, temperature=0.07):
    places = torch.cat((PLACES.unsqueeze(1), strangers), 1)
    each = [torch.exp(bank[p].double() @ v.double() / temperature) for v, p in zip(vectors, places, strict=True)]
    return torch.cat(each).mean().item() * len(bank)


# Terms


def test_the_terms_are_those_of_a_loop_over_pictures_and_turns(decouple_of, batch_at, seed):
    objective = decouple_of().train()
    before = objective.bank.memory.clone()
    assert isinstance(objective, Decouple)
    terms = objective.terms(batch_at())
    assert set(terms) == {"loss", "loss_transform", "loss_mean", "loss_instance", "pretext_accuracy"}
    for_turn, kept = halves(objective, batch_at())
    logits = objective.classifier(for_turn)
    pairs = [(i, turn) for i in range(PICTURES) for turn in range(4)]
    transform = torch.stack([cross_entropy(logits[i, turn], torch.tensor(turn)) for i, turn in pairs]).mean()
    apart = torch.stack([(kept[i, turn] - kept[i].sum(0) / 4).square().mean() for i, turn in pairs]).mean()
    torch.testing.assert_close(terms["loss_transform"], transform)
    torch.testing.assert_close(terms["loss_mean"], apart)
    right = sum(int(logits[i, turn].argmax()) == turn for i, turn in pairs)
    assert terms["pretext_accuracy"].item() == pytest.approx(right / len(pairs))
    vectors, strangers = vectors_of(objective, batch_at()).detach(), drawn_places(seed)
    constant = constant_of(vectors, before, strangers)
    assert objective.bank.constant.item() == pytest.approx(constant, rel=1e-4)
    assert terms["loss_instance"].item() == pytest.approx(contrasted(vectors, before, strangers, constant), rel=1e-4)
    torch.testing.assert_close(terms["loss"], terms["loss_transform"] + terms["loss_mean"] + terms["loss_instance"])


def test_each_term_has_its_weight(decouple_of, batch_at):
    terms = decouple_of(cls_weight=0.5, mean_weight=2.0, instance_weight=3.0).terms(batch_at())
    expected = 0.5 * terms["loss_transform"] + 2 * terms["loss_mean"] + 3 * terms["loss_instance"]
    torch.testing.assert_close(terms["loss"], expected)


def test_turns_are_guessed_at_ln_4(decouple_of, batch_at):
    objective = decouple_of()
    nn.init.zeros_(objective.classifier.weight)
    nn.init.zeros_(objective.classifier.bias)
    assert objective.terms(batch_at())["loss_transform"].item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("negatives", [1, 16, 500])
def test_where_all_places_are_alike_the_loss_is_that_of_guessing(negatives, decouple_of, batch_at):
    """Own or drawn is then a matter of 1 to K: ln(1 + K) + K ln(1 + 1 / K), for any size of the set."""
    objective = decouple_of(negatives=negatives)
    objective.bank.memory = torch.ones_like(objective.bank.memory)
    objective.projection.forward = lambda mean: torch.ones(len(mean), DIMS)
    expected = math.log(1 + negatives) + negatives * math.log(1 + 1 / negatives)
    assert objective.terms(batch_at())["loss_instance"].item() == pytest.approx(expected, rel=1e-5)


def test_views_of_a_picture_that_agree_cost_nothing(decouple_of, batch_at):
    objective = decouple_of()
    picture = torch.randn(PICTURES, objective.trunk.features)
    objective.trunk.forward = lambda images: picture.repeat_interleave(4, 0)
    assert objective.terms(batch_at())["loss_mean"] < 1e-12


def test_a_pictures_own_place_is_found_by_its_number_in_the_set(decouple_of, batch_at):
    """A bank that knows the batch's pictures, and them alone, costs less than one that has them in other places."""
    found = []
    for places in (PLACES, PLACES.roll(1)):
        objective = decouple_of(negatives=4)
        objective.bank.memory = torch.zeros_like(objective.bank.memory)
        with torch.no_grad():
            objective.bank.memory[places] = vectors_of(objective, batch_at())
            objective.bank.constant.fill_(SET)
        found.append(objective.terms(batch_at())["loss_instance"].item())
    assert found[0] < found[1]


# The memory


def test_the_bank_begins_with_vectors_of_about_length_1(config):
    bank = Decouple(replace(config, objective=DecoupleOptions()), 300).bank.memory
    assert bank.shape == (300, 128)
    reach = (3 / 128) ** 0.5
    assert kstest(bank.flatten().double().numpy(), "uniform", (-reach, 2 * reach)).pvalue > 1e-3
    assert bank.square().sum(1).mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("momentum", [0.5, 0.0, 0.9])
def test_seen_pictures_move_in_the_bank_and_no_others(momentum, decouple_of, batch_at):
    objective = decouple_of(bank_momentum=momentum)
    before = objective.bank.memory.clone()
    objective.terms(batch_at())
    vectors = vectors_of(objective, batch_at()).detach()
    for place in range(SET):
        expected = before[place]
        if place in PLACES.tolist():
            moved = momentum * before[place] + (1 - momentum) * vectors[PLACES.tolist().index(place)]
            expected = moved / moved.norm()
        torch.testing.assert_close(objective.bank.memory[place], expected)


def test_the_first_batch_fixes_the_constant(decouple_of, batch_at):
    objective = decouple_of()
    objective.terms(batch_at())
    constant = objective.bank.constant.clone()
    assert constant > 0
    objective.terms(batch_at(noise=1))
    assert torch.equal(objective.bank.constant, constant)
    other = decouple_of()
    other.terms(batch_at(noise=1))
    assert not torch.equal(other.bank.constant, constant)


def test_what_is_remembered_is_in_the_state_and_learns_by_no_gradient(decouple_of):
    objective = decouple_of()
    assert {"bank.memory", "bank.constant"} <= set(objective.state_dict())
    assert not {"bank.memory", "bank.constant"} & {name for name, _ in objective.named_parameters()}


def test_nothing_is_remembered_outside_of_training(decouple_of, batch_at):
    objective = decouple_of().eval()
    before = objective.bank.memory.clone()
    objective.terms(batch_at())
    assert torch.equal(objective.bank.memory, before)


class Half(Ranks):
    """One of two processes; what the other one sends is known beforehand, in the order of the questions."""

    answers: list

    def gather(self, x):
        other = self.answers.pop(0)
        return torch.cat((x, other) if self.first else (other, x))

    def mean(self, x):
        return (x + self.answers.pop(0)) / 2


def test_two_processes_remember_as_one_does(decouple_of, batch_at, seed):
    """Each has half of the batch; the trunk in evaluation mode, so that batch norm sees no difference."""

    def remembering(ranks):
        objective, batch = decouple_of(), batch_at()
        objective.trunk.eval()
        rows = ranks.rows(PICTURES)
        views = batch.views._replace(images=batch.views.images[rows], labels=batch.views.labels[rows])
        draws = Draws(torch.Generator().manual_seed(seed), len(views.images), ranks)
        return objective, objective.terms(Batch(views, batch.picture_labels[rows], 0.5, draws, PLACES[rows]))

    whole, terms = remembering(Ranks())
    untouched = decouple_of()
    untouched.trunk.eval()
    with torch.no_grad():
        vectors = vectors_of(untouched, batch_at())
        places = torch.cat((PLACES.unsqueeze(1), drawn_places(seed)), 1)
        exps = (vectors @ untouched.bank.memory.T / 0.07).gather(1, places).exp()
    losses = []
    for rank in (0, 1):
        ranks, other = Half(rank, 2), Ranks(1 - rank, 2).rows(PICTURES)
        ranks.answers = [exps[other].mean(), PLACES[other], vectors[other]]
        half, own = remembering(ranks)
        assert not ranks.answers
        torch.testing.assert_close(half.bank.memory, whole.bank.memory)
        torch.testing.assert_close(half.bank.constant, whole.bank.constant)
        losses.append(own["loss_instance"])
    torch.testing.assert_close(torch.stack(losses).mean(), terms["loss_instance"])


# Judges and weights

PU = {"pu_part": 1 / 3, "weighted_part": 1 / 3}


def test_turned_views_count_by_1_less_p_to_the_power_gamma(decouple_of, batch_at, generator):
    objective = decouple_of(**PU, gamma=3.0).eval()
    objective.upright = torch.rand(SET, 4, generator=generator)
    batch = batch_at(stage=2)
    views = batch.views._replace(images=batch.views.images.flip(1), labels=batch.views.labels.flip(1))
    terms = objective.terms(batch._replace(views=views))
    logits = objective.classifier(halves(objective, batch)[0])
    total, weights = 0.0, []
    for i, place in enumerate(PLACES.tolist()):
        for turn in range(4):
            weights.append(1.0 if turn == 0 else 1 - objective.upright[place, turn].item() ** 3)
            total += weights[-1] * cross_entropy(logits[i, turn], torch.tensor(turn)).item()
    assert terms["loss_transform"].item() == pytest.approx(total / len(weights), rel=1e-5)
    assert terms["turn_weight"].item() == pytest.approx(sum(weights) / len(weights), rel=1e-5)


def test_where_nothing_turned_looks_upright_weights_change_nothing(decouple_of, batch_at):
    """As without judges, whatever is thought of what is upright; and nothing that certainly looks upright counts."""
    plain, objective = decouple_of().eval(), decouple_of(**PU).eval()
    objective.upright[:, 0] = 0.7
    terms, expected = objective.terms(batch_at(stage=2)), plain.terms(batch_at())
    assert all(torch.equal(terms[name], value) for name, value in expected.items())
    objective.upright[:, 1:] = 1
    logits = objective.classifier(halves(objective, batch_at())[0])
    upright = cross_entropy(logits[:, 0], torch.zeros(PICTURES, dtype=torch.int64)) / 4
    torch.testing.assert_close(objective.terms(batch_at(stage=2))["loss_transform"], upright)


def test_before_the_last_stage_weights_are_1(decouple_of, batch_at, generator):
    objective = decouple_of(**PU).eval()
    objective.upright = torch.rand(SET, 4, generator=generator)
    terms = objective.terms(batch_at(stage=1))
    assert terms["turn_weight"] == 1
    assert torch.equal(terms["loss"], decouple_of().eval().terms(batch_at())["loss"])


def test_a_judge_learns_from_its_half_alone_and_nothing_else_learns(decouple_of, batch_at):
    """With other pictures in the places of one half, the other half's judge has the same gradient, bit for bit."""
    objective, batch = decouple_of(**PU).train(), batch_at()
    assert objective.halves.bincount().tolist() == [SET // 2] * 2
    mine = objective.halves[PLACES]
    assert 0 < mine.sum() < PICTURES

    def gradients(images):
        objective.zero_grad()
        objective.terms(batch._replace(views=batch.views._replace(images=images)))["loss"].backward()
        assert {name.split(".")[0] for name, p in objective.named_parameters() if p.grad is not None} == {"judges"}
        return [[p.grad.clone() for p in judge.parameters()] for judge in objective.judges]

    before = gradients(batch.views.images)
    for half in (0, 1):
        images = batch.views.images.clone()
        images[mine == half] = 1 - images[mine == half]
        after = gradients(images)
        assert all(map(torch.equal, before[1 - half], after[1 - half]))
        assert not any(map(torch.equal, before[half], after[half]))


def test_judges_minimise_the_mean_loss_of_all_views(decouple_of, batch_at):
    objective, batch = decouple_of(**PU).eval(), batch_at()
    logits = [judge.classifier(judge.trunk(batch.views.images.flatten(0, 1))) for judge in objective.judges]
    own = objective.halves[PLACES].repeat_interleave(4)
    logits = torch.where(own.unsqueeze(1) == 0, *logits)
    terms = objective.terms(batch)
    assert set(terms) == {"loss", "judge_accuracy"}
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, batch.views.labels.flatten()))
    right = (logits.argmax(1) == batch.views.labels.flatten()).float().mean()
    torch.testing.assert_close(terms["judge_accuracy"], right)


def test_a_batch_of_one_half_is_learnt_from(decouple_of, batch_at):
    objective, batch = decouple_of(**PU), batch_at()
    objective.halves[PLACES] = 1
    terms = objective.terms(batch)
    torch.testing.assert_close(terms["loss"], objective.judges[1].terms(batch)["loss"])


def test_a_picture_is_judged_whole_and_turned_by_the_judge_that_never_saw_it(decouple_of, few, generator, monkeypatch):
    """In several parts, which share no batch norm."""
    monkeypatch.setattr(whole, "_BATCH", 5)
    objective = decouple_of(**PU)
    objective.begin_epoch(few, 0.0, generator, 0)
    assert not objective.upright.any()
    for norm in (m for m in objective.judges.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)):
        norm.momentum = 1
    for judge in objective.judges:  # as if it had learnt: it tells pictures and turns apart
        judge.trunk.train()(plain_view(few.images, 32))
        nn.init.normal_(judge.classifier.weight, std=0.1)
    objective.begin_epoch(few, 0.3, generator, 1)
    with torch.no_grad():
        for place in range(SET):
            judge = objective.judges[1 - int(objective.halves[place])].eval()
            for turn in range(4):
                turned = torch.rot90(plain_view(few.batch([place]), 32), turn, (2, 3))
                p = softmax(judge.classifier(judge.trunk(turned)), 1)[0, 0]
                assert objective.upright[place, turn].item() == pytest.approx(p.item(), abs=1e-5)
    assert objective.upright.std() > 0.1
    before = objective.upright.clone()
    nn.init.zeros_(objective.judges[0].classifier.weight)
    objective.begin_epoch(few, 0.6, generator, 2)
    assert torch.equal(objective.upright, before), "judged once"


def test_pictures_are_judged_under_the_turns_that_views_have(config, few, generator):
    views = replace(config.views, flip=0.0, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
    views = replace(views, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    sampled = sample_views(few.batch([3, 4]), views, generator)
    assert sampled.labels.tolist() == [[0, 1, 2, 3]] * 2
    turned = torch.stack([torch.rot90(plain_view(few.batch([3, 4]), 32), turn, (2, 3)) for turn in range(4)], 1)
    apart = (sampled.images.unsqueeze(2) - turned.unsqueeze(1)).abs().flatten(3).mean(3)  # [2, 4, 4]
    assert apart.diagonal(dim1=1, dim2=2).max() < 2e-3  # but for the edge
    assert (apart + torch.eye(4)).min() > 2e-2


def test_judges_leave_the_other_weights_as_they_are(decouple_of):
    without, having = decouple_of().state_dict(), decouple_of(**PU).state_dict()
    assert without.keys() < having.keys()
    assert all(torch.equal(value, having[name]) for name, value in without.items())
    assert {name.split(".")[0] for name in having.keys() - without.keys()} == {"judges", "upright"}


def test_judges_and_weights_have_stages_of_their_own(decouple_of):
    assert decouple_of().stages() == (1.0,)
    assert decouple_of(pu_part=0.2, weighted_part=0.1).stages() == pytest.approx((0.2, 0.7, 0.1))


# Gradients


def gradient_rows(objective, batch, term):
    """Return, for each unit of fc7, whether a term moves its weights."""
    objective.zero_grad()
    objective.terms(batch)[term].backward()
    return objective.trunk.fc7[0].weight.grad.abs().sum(1) > 0


def test_halves_learn_from_their_own_terms(decouple_of, batch_at):
    objective = decouple_of()
    half = objective.trunk.features // 2
    for term in ("loss_transform", "loss_mean", "loss_instance"):
        moved = gradient_rows(objective, batch_at(), term)
        own, other = (moved[:half], moved[half:]) if term == "loss_transform" else (moved[half:], moved[:half])
        assert not other.any()
        assert own.float().mean() > 0.5


def test_the_mean_that_views_are_to_meet_is_a_fixed_target(decouple_of, batch_at, monkeypatch):
    """The gradient is 2 (x - m) over the count of numbers; asked of what is compared, for a moving m would give it too:
    a picture's x - m sum to 0."""
    objective, asked = decouple_of(), []
    features = torch.randn(PICTURES * 4, objective.trunk.features, requires_grad=True)
    objective.trunk.forward = lambda images: features
    monkeypatch.setattr(decouple, "mse_loss", lambda *given: asked.append(given) or mse_loss(*given))
    objective.terms(batch_at())["loss_mean"].backward()
    ((compared, target),) = asked
    assert compared.requires_grad
    assert not target.requires_grad
    half = objective.trunk.features // 2
    kept = features.detach()[:, half:].view(PICTURES, 4, half)
    torch.testing.assert_close(features.grad[:, half:].view_as(kept), 2 * (kept - kept.mean(1, True)) / kept.numel())


def test_the_instance_loss_has_the_gradient_of_the_bank_before_it_was_moved(decouple_of, batch_at, seed):
    objective = decouple_of()
    bank, strangers = objective.bank.memory.clone(), drawn_places(seed)
    raw = torch.randn(PICTURES, DIMS, requires_grad=True)
    objective.projection.forward = lambda mean: raw
    objective.terms(batch_at())["loss_instance"].backward()
    gradient, step, constant = raw.grad.clone(), 1e-4, objective.bank.constant.item()
    for place in ((0, 0), (2, 5), (5, 7)):
        ends = []
        for sign in (1, -1):
            moved = raw.detach().double()
            moved[place] += sign * step
            ends.append(contrasted(normalize(moved), bank, strangers, constant))
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_steps_lower_the_loss_of_a_fixed_batch(frozen, decouple_of, batch_at):
    """The bank's moves help; with a frozen bank, steps alone do it."""
    objective = decouple_of().train()
    if frozen:
        objective._remember = lambda *given: None
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    found = []
    for _ in range(8):
        found.append(objective.terms(batch_at()))
        optimiser.zero_grad()
        found[-1]["loss"].backward()
        assert [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.any()] == []
        optimiser.step()
    for name in ("loss", "loss_transform", "loss_instance"):
        assert found[-1][name] < found[0][name] - 0.05, name


# Runs


def test_a_run_resumes_to_the_same_numbers(config, few, tmp_path):
    """Stopped within an epoch, at its end, and before the second of six steps; the bank is in the checkpoint."""
    whole = go(config, tmp_path / "whole", few)
    for step in (1, 3, 4):
        folder = tmp_path / str(step)
        go(config, folder, few, stop=stopping_after(step))
        assert_same_run(go(config, folder, few), whole)
    tensors = read_tensors(whole.folder / "checkpoints" / "last.safetensors", "model.")
    assert tensors["model.bank.memory"].shape == (24, DIMS)
    torch.testing.assert_close(tensors["model.bank.memory"].norm(dim=1), torch.ones(24))
    assert tensors["model.bank.constant"] > 0


@pytest.mark.slow
def test_on_the_photographs_both_halves_learn(tmp_path):
    """Their patches overlap: at the published temperature the memory loses by that, and takes the turns along."""
    config = override(preset("decouple/photos"), {"train.epochs": 3, "train.monitor_every": 0, "train.device": "cpu"})
    run = go(config, tmp_path / "run", load_images("photos"))
    lines = [line for line in run.history if line["kind"] == "train"][-10:]
    guessing = math.log(1 + 4096) + 4096 * math.log(1 + 1 / 4096)
    assert mean(line["loss_instance"] for line in lines) < guessing - 0.5
    assert mean(line["pretext_accuracy"] for line in lines) > 0.28


@pytest.fixture(scope="module")
def judged_config(tiny):
    """Two epochs of three steps in each of three stages."""
    views, train = replace(tiny.views, primary=TURNS), replace(tiny.train, epochs=6)
    return replace(tiny, objective=DecoupleOptions(dims=DIMS, negatives=NEGATIVES, **PU), views=views, train=train)


@pytest.fixture(scope="module")
def judged_run(judged_config, few, tmp_path_factory):
    return go(judged_config, tmp_path_factory.mktemp("judged") / "run", few)


@pytest.mark.parametrize("step", [2, 6, 7, 9, 12, 14])
def test_a_run_with_judges_resumes_to_the_same_numbers_in_each_stage(step, judged_config, judged_run, few, tmp_path):
    assert go(judged_config, tmp_path / "run", few, stop=stopping_after(step)).progress["step"] == step
    assert_same_run(go(judged_config, tmp_path / "run", few), judged_run)


def test_a_stage_trains_what_is_its_own(judged_config, judged_run, few, tmp_path):
    """While judges learn, nothing else does; once they have judged, they stay as they are."""
    run = go(judged_config, tmp_path / "run", few, stop=stopping_after(6))
    after, end = (read_tensors(r.folder / "checkpoints" / "last.safetensors", "model.") for r in (run, judged_run))
    first = go(replace(judged_config, train=replace(judged_config.train, epochs=0)), tmp_path / "first", few)
    start = read_tensors(first.folder / "checkpoints" / "last.safetensors", "model.")
    for name, value in after.items():
        judges, counts = name.startswith("model.judges."), name.endswith("num_batches_tracked")
        assert torch.equal(value, start[name]) != judges, name
        if name != "model.bank.memory" and not name.startswith("model.upright"):
            assert torch.equal(value, end[name]) == judges or counts, name
    assert 0 < end["model.upright"].min() < end["model.upright"].max() < 1


def test_history_tells_of_judges_then_of_turns_and_last_of_weights(judged_run):
    lines = [line for line in judged_run.history if line["kind"] == "train"]
    assert [set(line) & {"judge_accuracy", "pretext_accuracy"} for line in lines] == (
        [{"judge_accuracy"}] * 3 + [{"pretext_accuracy"}] * 6
    )
    weights = [line["turn_weight"] for line in lines[3:]]
    assert weights[:3] == [1] * 3
    assert all(0.5 < weight < 1 for weight in weights[3:])


def test_judges_refuse_several_processes(decouple_of, batch_at):
    batch = batch_at()
    with pytest.raises(CodialError, match=r"^Decouple's judges train in one process.* are 2. .*objective.pu_part to 0"):
        decouple_of(**PU).terms(batch._replace(draws=Draws(batch.draws.generator, 3, Ranks(0, 2))))


@pytest.mark.parametrize(
    ("name", "outside", "expected"),
    [
        ("pu_part", -0.1, "a part of the run, 0 or more"),
        ("weighted_part", 0.0, "a part of the run above 0"),
        ("pu_part", 0.9, "parts of the run, sum below 1"),
        ("gamma", 0.0, "a positive power"),
    ],
)
def test_parts_out_of_range_are_refused(name, outside, expected):
    with pytest.raises(CodialError, match=rf"^objective.{name}.* is .*; expected {expected}"):
        DecoupleOptions(**{name: outside})


def test_fewer_epochs_than_stages_are_refused(judged_config, few, tmp_path):
    short = replace(judged_config, train=replace(judged_config.train, epochs=2))
    with pytest.raises(CodialError, match=r"^train.epochs is 2; expected at least 3, one for each stage"):
        go(short, tmp_path / "run", few)


def test_in_half_precision_scores_are_still_exact(decouple_of, batch_at, seed):
    objective = decouple_of()
    bank = objective.bank.memory.clone()
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective.terms(batch_at())
        kept = objective.trunk(batch_at().views.images.flatten(0, 1)).chunk(2, 1)[1].float().view(PICTURES, 4, -1)
        vectors = normalize(objective.projection(kept.mean(1)).float()).detach()
    strangers = drawn_places(seed)
    expected = contrasted(vectors, bank, strangers, constant_of(vectors, bank, strangers))
    assert terms["loss_instance"].item() == pytest.approx(expected, rel=1e-4)


def test_without_pictures_there_is_nothing_to_remember(config):
    with pytest.raises(CodialError, match=r"^Decouple remembers every picture of the set, .* told 0; expected 1"):
        build(config, classes=8)
