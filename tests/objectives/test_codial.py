from dataclasses import replace
from itertools import combinations

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from codial import sample_views
from codial.config import CodialOptions
from codial.information import TWO_LN2, beta_at, symmetrised_kl
from codial.objectives import Batch, Codial, Draws, build

PICTURES, VIEWS = 6, 5
PAIRS = list(combinations(range(VIEWS), 2))


def configured(tiny, **options):
    return replace(tiny, objective=replace(tiny.objective, **options))


@pytest.fixture
def codial_of(tiny, seed):
    def make(**options):
        torch.manual_seed(seed)
        return Codial(configured(tiny, **options))

    return make


@pytest.fixture
def batch_at(tiny, few, seed):
    """The same views and the same noise every time."""
    views = sample_views(few.batch(range(PICTURES)), tiny.views, torch.Generator().manual_seed(seed))

    def make(progress=0.5, noise=seed):
        draws = Draws(torch.Generator().manual_seed(noise), PICTURES)
        return Batch(views, few.labels[:PICTURES], progress, draws, torch.arange(PICTURES))

    return make


class Telling(nn.Module):
    """In place of the stochastic head: the code of view k of picture i is (i, k), all but certain."""

    def forward(self, features):
        place = torch.arange(len(features))
        mu = torch.stack((place // VIEWS, place % VIEWS), 1).float()
        return mu, torch.full_like(mu, 1e-12)


class Listening(nn.Module):
    """In place of the critic: keeps the pairs of codes that it is asked about."""

    def __init__(self):
        super().__init__()
        self.left = self.right = nn.Identity()
        self.asked = []

    def combine(self, left, right):
        shape = torch.broadcast_shapes(left.shape, right.shape)
        self.asked.append((left.expand(shape).round().long(), right.expand(shape).round().long()))
        return (left + right).sum(-1)


def pairings(objective, batch_at, times):
    """Return [times, B, P, (side, picture or view)] of the pairs drawn together, and of those drawn apart."""
    objective.head, objective.critic = Telling(), Listening()
    objective.trunk.forward = lambda images: torch.zeros(len(images), objective.trunk.features)
    for noise in range(times):
        objective.terms(batch_at(noise=noise))
    asked = torch.stack([torch.stack((left, right), -2) for left, right in objective.critic.asked])
    return asked[:, 0], asked[:, 1]


# Equations


@pytest.mark.parametrize("cls_weight", [1.0, 0.5])
@pytest.mark.parametrize("mi_weight", [1.0, 2.0])
@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_the_loss_is_equations_6_and_7_of_its_terms(cls_weight, mi_weight, progress, codial_of, batch_at):
    objective = codial_of(cls_weight=cls_weight, mi_weight=mi_weight, beta_start=1e-3, beta_end=10.0)
    terms = objective.terms(batch_at(progress))
    beta = 1e-3 * 1e4**progress
    assert terms["beta"] == pytest.approx(beta)
    expected = cls_weight * terms["loss_transform"] + mi_weight * (-terms["mi_js"] + beta * terms["skl"])
    torch.testing.assert_close(terms["loss"], expected)
    assert set(terms) == {"loss", "loss_transform", "pretext_accuracy", "mi_js", "skl", "beta"}


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
@pytest.mark.parametrize("skl_reduce", ["sum", "mean"])
def test_the_terms_are_equations_1_4_and_5_pair_by_pair(head, skl_reduce, codial_of, batch_at, seed):
    """Loops over pictures and pairs; negatives are the picture before's same view, so only the noise is drawn."""
    objective = codial_of(head=head, negatives="roll", skl_reduce=skl_reduce).train()
    terms = objective.terms(batch_at())
    batch = batch_at()
    features = objective.trunk(batch.views.images.flatten(0, 1))
    half = features.shape[1] // 2
    logits = objective.classifier(features[:, :half] if head == "decoupled" else features)
    labels = torch.arange(VIEWS).repeat(PICTURES)
    torch.testing.assert_close(terms["loss_transform"], cross_entropy(logits, labels))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    for_code = features[:, half:] if head == "decoupled" else features
    raw = for_code if head == "split" else objective.head.linear(for_code)
    z_dim = raw.shape[1] // 2
    mu = raw[:, :z_dim].view(PICTURES, VIEWS, -1)
    sigma = (softplus(raw[:, z_dim:]) + 1e-7).view(PICTURES, VIEWS, -1)
    z = mu + sigma * torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
    joint, apart, skl = [], [], []
    for i in range(PICTURES):
        for a, b in PAIRS:
            joint.append(-softplus(-objective.critic(z[i, a], z[i, b])))
            apart.append(-softplus(objective.critic(z[(i - 1) % PICTURES, a], z[i, b])))
            skl.append(symmetrised_kl(mu[i, a], sigma[i, a], mu[i, b], sigma[i, b]))
    torch.testing.assert_close(terms["mi_js"], TWO_LN2 + torch.stack(joint).mean() + torch.stack(apart).mean())
    expected = torch.stack(skl).mean() / (z_dim if skl_reduce == "mean" else 1)
    torch.testing.assert_close(terms["skl"], expected)


def test_the_sampled_divergence_has_the_closed_ones_mean(codial_of, batch_at):
    closed, sampled = codial_of().eval(), codial_of(skl="sampled").eval()
    with torch.no_grad():
        for objective in (closed, sampled):  # wide apart, so that there is something to measure
            objective.head.linear.bias.copy_(torch.linspace(-1, 1, 16))
            for module in objective.trunk.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, generator=torch.Generator().manual_seed(0))
        expected = closed.terms(batch_at())["skl"]
        draws = torch.stack([sampled.terms(batch_at(noise=noise))["skl"] for noise in range(150)])
    assert abs(draws.mean() - expected) < 4 * draws.std() / 150**0.5
    assert draws.std() > 0


def test_without_alignment_there_is_no_critic_and_the_loss_is_cross_entropy(codial_of, batch_at):
    objective = codial_of(mi_weight=0.0)
    assert not any("critic" in name or "head" in name for name, _ in objective.named_parameters())
    terms = objective.terms(batch_at())
    assert set(terms) == {"loss", "loss_transform", "pretext_accuracy"}
    torch.testing.assert_close(terms["loss"], terms["loss_transform"])


def test_a_classifier_that_is_right_has_full_accuracy_and_no_loss(codial_of, batch_at):
    objective = codial_of(mi_weight=0.0)
    objective.trunk.forward = lambda images: 50 * torch.eye(VIEWS).repeat(PICTURES, 1)
    objective.classifier = nn.Identity()
    terms = objective.terms(batch_at())
    assert terms["pretext_accuracy"] == 1
    assert terms["loss"] < 1e-6


# Pairs and negatives


def test_all_ten_pairs_are_of_one_picture_each(codial_of, batch_at):
    joint, _ = pairings(codial_of(), batch_at, times=1)
    assert joint.shape == (1, PICTURES, 10, 2, 2)
    for picture, pairs in enumerate(joint[0].tolist()):
        assert all(left[0] == right[0] == picture for left, right in pairs)
        assert sorted(tuple(sorted((left[1], right[1]))) for left, right in pairs) == PAIRS


@pytest.mark.parametrize("count", [1, 3, 9])
def test_some_of_ten_pairs_are_drawn_without_repetition_and_all_come(count, codial_of, batch_at):
    joint, apart = pairings(codial_of(pairs=count), batch_at, times=60)
    assert joint.shape == apart.shape == (60, PICTURES, count, 2, 2)
    seen = set()
    for drawn in joint:
        pairs = [tuple(sorted((left[1], right[1]))) for left, right in drawn[0].tolist()]
        assert len(set(pairs)) == count
        assert all(a != b for a, b in pairs)
        seen |= set(pairs)
    assert seen == set(PAIRS)
    assert (joint[..., 0, 0] == joint[..., 1, 0]).all(), "one picture"


@pytest.mark.parametrize("negatives", ["random", "same", "roll"])
def test_negatives_never_come_from_the_same_picture(negatives, codial_of, batch_at):
    joint, apart = pairings(codial_of(negatives=negatives), batch_at, times=40)
    assert (apart[..., 0, 0] != apart[..., 1, 0]).all()
    assert torch.equal(apart[..., 1, :], joint[..., 1, :]), "the second partner stays"
    if negatives == "roll":
        assert torch.equal(apart[..., 0, 0], (joint[..., 0, 0] - 1) % PICTURES)
    if negatives != "random":
        assert torch.equal(apart[..., 0, 1], joint[..., 0, 1]), "so that the transform gives nothing away"


def test_random_negatives_are_uniform_over_the_other_pictures_and_their_views(codial_of, batch_at):
    _, apart = pairings(codial_of(), batch_at, times=40)
    left, right = apart[..., 0, :].flatten(0, -2), apart[..., 1, :].flatten(0, -2)
    step = (left[:, 0] - right[:, 0]) % PICTURES
    assert chisquare(torch.bincount(step, minlength=PICTURES)[1:]).pvalue > 1e-3
    for place in range(PICTURES):
        views = torch.bincount(left[right[:, 0] == place, 1], minlength=VIEWS)
        assert chisquare(views).pvalue > 1e-3


@pytest.mark.parametrize("negatives", ["random", "same", "roll"])
def test_two_pictures_are_each_others_negatives(negatives, tiny, few, codial_of, generator):
    views = sample_views(few.batch(range(2)), tiny.views, generator)
    terms = codial_of(negatives=negatives).terms(
        Batch(views, few.labels[:2], 0.0, Draws(generator, 2), torch.arange(2))
    )
    assert torch.isfinite(terms["loss"])


# Heads


def test_heads_read_what_their_name_says(codial_of):
    features = codial_of().trunk.features
    half = features // 2
    shared, split, decoupled = (codial_of(head=head) for head in ("shared", "split", "decoupled"))
    assert shared.classifier.weight.shape == (VIEWS, features)
    assert shared.head.linear.weight.shape == (16, features)
    assert shared.critic.left.in_features == 8
    assert split.classifier.weight.shape == (VIEWS, features)
    assert not hasattr(split, "head")
    assert split.critic.left.in_features == half
    assert decoupled.classifier.weight.shape == (VIEWS, half)
    assert decoupled.head.linear.weight.shape == (16, half)


def gradient_rows(objective, batch, term):
    """Return, for each unit of fc7, whether a term moves its weights."""
    objective.zero_grad()
    objective.terms(batch)[term].backward()
    return objective.trunk.fc7[0].weight.grad.abs().sum(1) > 0


def test_decoupled_halves_learn_from_one_term_each(codial_of, batch_at):
    objective = codial_of(head="decoupled")
    half = objective.trunk.features // 2
    for term in ("loss_transform", "mi_js", "skl"):
        moved = gradient_rows(objective, batch_at(), term)
        own, other = (moved[:half], moved[half:]) if term == "loss_transform" else (moved[half:], moved[:half])
        assert not other.any()
        assert own.float().mean() > 0.5


@pytest.mark.parametrize("head", ["shared", "split"])
def test_otherwise_every_term_reaches_all_of_fc7(head, codial_of, batch_at):
    objective = codial_of(head=head)
    half = objective.trunk.features // 2
    for term in ("loss_transform", "mi_js", "skl"):
        moved = gradient_rows(objective, batch_at(), term)
        assert moved[:half].float().mean() > 0.5
        assert moved[half:].float().mean() > 0.5


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
def test_every_parameter_gets_a_gradient(head, codial_of, batch_at):
    objective = codial_of(head=head)
    objective.terms(batch_at())["loss"].backward()
    still = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


# Learning


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
@pytest.mark.parametrize("skl", ["closed", "sampled"])
def test_steps_lower_the_loss_of_a_fixed_batch(head, skl, codial_of, batch_at):
    objective = codial_of(head=head, skl=skl, negatives="roll").train()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = objective.terms(batch_at())["loss"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0] - 0.05


def test_with_the_papers_weight_on_the_bottleneck_the_codes_of_a_picture_meet(codial_of, batch_at):
    objective = codial_of(beta_start=1.0, beta_end=1.0, cls_weight=0.0).train()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    found = []
    for noise in range(15):
        terms = objective.terms(batch_at(noise=noise))
        found.append(terms["skl"].item())
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
    assert found[-1] < 0.5 * found[0]


def test_the_same_seed_gives_the_same_terms(codial_of, batch_at):
    objective = codial_of().eval()
    first, second, other = (objective.terms(batch_at(noise=noise)) for noise in (1, 1, 2))
    assert all(torch.as_tensor(first[k]).equal(torch.as_tensor(second[k])) for k in first)
    assert not torch.equal(first["mi_js"], other["mi_js"])


def test_beta_is_the_schedules(tiny, codial_of, batch_at):
    for progress in (0.0, 0.3, 0.9):
        assert codial_of().terms(batch_at(progress))["beta"] == beta_at(progress, tiny.objective)


def test_fewer_views_mean_fewer_pairs(tiny, few, generator):
    views = replace(tiny.views, primary=("turn0", "turn180", "warp"))
    config = replace(tiny, views=views, objective=CodialOptions(pairs=3, z_dim=4, critic_hidden=8))
    objective = build(config, classes=8)
    assert isinstance(objective, Codial)
    terms = objective.terms(
        Batch(
            sample_views(few.batch(range(4)), views, generator),
            few.labels[:4],
            0.0,
            Draws(generator, 4),
            torch.arange(4),
        )
    )
    assert torch.isfinite(terms["loss"])
    assert objective.classifier.out_features == 3
