import math
from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from scipy.stats import kstest
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from codial import sample_views
from codial.config import TURNS, DecoupleOptions
from codial.errors import CodialError
from codial.objectives import Batch, Decouple, Draws, build
from codial.objectives import decouple as MODULE
from codial.ranks import Ranks
from codial.runs import read_tensors

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

    def make(noise=seed):
        draws = Draws(torch.Generator().manual_seed(noise), PICTURES)
        return Batch(views, few.labels[PLACES], 0.5, draws, PLACES)

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
    monkeypatch.setattr(MODULE, "mse_loss", lambda *given: asked.append(given) or mse_loss(*given))
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
