import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from codial import sample_views
from codial.errors import CodialError
from codial.losses import TWO_LN2, symmetrised_kl
from codial.methods import Batch, build
from codial.methods.codial import Codial, CodialConfig
from codial.utils.batch_generator import BatchGenerator

IMAGES, VIEWS = 6, 5
PAIRS = list(combinations(range(VIEWS), 2))


def configured(tiny, **options):
    return replace(tiny, method=replace(tiny.method, **options))


@pytest.fixture
def codial_of(tiny, seed):
    def make(**options):
        torch.manual_seed(seed)
        return Codial(configured(tiny, **options))

    return make


@pytest.fixture
def batch_at(tiny, few, seed):
    """Return a function that makes batches of the same views, with a given progress and seed of the noise."""
    views = sample_views(few.batch(range(IMAGES)), tiny.views, torch.Generator().manual_seed(seed))

    def make(progress=0.5, noise=seed):
        rng = BatchGenerator(torch.Generator().manual_seed(noise), IMAGES)
        return Batch(views, few.labels[:IMAGES], progress, rng, torch.arange(IMAGES))

    return make


class IndexHead(nn.Module):
    """Replaces the stochastic head: the code of view k of image i is (i, k), with almost no variance."""

    def forward(self, features):
        row = torch.arange(len(features))
        mu = torch.stack((row // VIEWS, row % VIEWS), 1).float()
        return mu, torch.full_like(mu, 1e-12)


class RecordingCritic(nn.Module):
    """Replaces the critic, and records the pairs of codes."""

    def __init__(self):
        super().__init__()
        self.left = self.right = nn.Identity()
        self.pairs = []

    def combine(self, left, right):
        shape = torch.broadcast_shapes(left.shape, right.shape)
        self.pairs.append((left.expand(shape).round().long(), right.expand(shape).round().long()))
        return (left + right).sum(-1)


def sampled_pairs(method, batch_at, steps):
    """Return positive and negative pairs, [steps, B, P, 2, 2] each, by side and (image, view)."""
    critic = RecordingCritic()
    method.loss.head, method.loss.alignment.critic = IndexHead(), critic
    method.backbone.forward = lambda images: torch.zeros(len(images), method.backbone.feature_dim)
    for noise in range(steps):
        method.terms(batch_at(noise=noise))
    pairs = torch.stack([torch.stack((left, right), -2) for left, right in critic.pairs])
    return pairs[:, 0], pairs[:, 1]


# Equations


@pytest.mark.parametrize("cls_weight", [1.0, 0.5])
@pytest.mark.parametrize("mi_weight", [1.0, 2.0])
@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_the_loss_is_equations_6_and_7_of_its_terms(cls_weight, mi_weight, progress, codial_of, batch_at):
    method = codial_of(cls_weight=cls_weight, mi_weight=mi_weight, beta_start=1e-3, beta_end=10.0)
    terms = method.terms(batch_at(progress))
    beta = 1e-3 * 1e4**progress
    assert terms["beta"] == pytest.approx(beta)
    expected = cls_weight * terms["loss_transform"] + mi_weight * (-terms["mi_js"] + beta * terms["skl"])
    torch.testing.assert_close(terms["loss"], expected)
    assert set(terms) == {"loss", "loss_transform", "pretext_accuracy", "mi_js", "skl", "beta"}


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
@pytest.mark.parametrize("skl_reduce", ["sum", "mean"])
def test_the_terms_are_equations_1_4_and_5_pair_by_pair(head, skl_reduce, codial_of, batch_at, seed):
    """Computed in loops over images and pairs; with negatives="roll" only the noise is random."""
    method = codial_of(head=head, negatives="roll", skl_reduce=skl_reduce).train()
    terms = method.terms(batch_at())
    batch = batch_at()
    features = method.backbone(batch.views.images.flatten(0, 1))
    half = features.shape[1] // 2
    logits = method.classifier(features[:, :half] if head == "decoupled" else features)
    labels = torch.arange(VIEWS).repeat(IMAGES)
    torch.testing.assert_close(terms["loss_transform"], cross_entropy(logits, labels))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    head_input = features[:, half:] if head == "decoupled" else features
    raw = head_input if head == "split" else method.loss.head.linear(head_input)
    z_dim = raw.shape[1] // 2
    mu = raw[:, :z_dim].view(IMAGES, VIEWS, -1)
    sigma = (softplus(raw[:, z_dim:]) + 1e-7).view(IMAGES, VIEWS, -1)
    z = mu + sigma * torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
    positive, negative, skl = [], [], []
    for i in range(IMAGES):
        for a, b in PAIRS:
            positive.append(-softplus(-method.loss.alignment.critic(z[i, a], z[i, b])))
            negative.append(-softplus(method.loss.alignment.critic(z[(i - 1) % IMAGES, a], z[i, b])))
            skl.append(symmetrised_kl(mu[i, a], sigma[i, a], mu[i, b], sigma[i, b]))
    torch.testing.assert_close(terms["mi_js"], TWO_LN2 + torch.stack(positive).mean() + torch.stack(negative).mean())
    expected = torch.stack(skl).mean() / (z_dim if skl_reduce == "mean" else 1)
    torch.testing.assert_close(terms["skl"], expected)


def test_without_alignment_there_is_no_critic_and_the_loss_is_cross_entropy(codial_of, batch_at):
    method = codial_of(mi_weight=0.0)
    assert not any("critic" in name or "head" in name for name, _ in method.named_parameters())
    terms = method.terms(batch_at())
    assert set(terms) == {"loss", "loss_transform", "pretext_accuracy"}
    torch.testing.assert_close(terms["loss"], terms["loss_transform"])


def test_a_perfect_classifier_has_full_accuracy_and_no_loss(codial_of, batch_at):
    method = codial_of(mi_weight=0.0)
    method.backbone.forward = lambda images: 50 * torch.eye(VIEWS).repeat(IMAGES, 1)
    method.loss.classifier, method.loss.feature_dim = nn.Identity(), VIEWS
    terms = method.terms(batch_at())
    assert terms["pretext_accuracy"] == 1
    assert terms["loss"] < 1e-6


# Pairs and negatives


def test_all_ten_pairs_are_of_views_of_the_same_image(codial_of, batch_at):
    positive, _ = sampled_pairs(codial_of(), batch_at, steps=1)
    assert positive.shape == (1, IMAGES, 10, 2, 2)
    for image, pairs in enumerate(positive[0].tolist()):
        assert all(left[0] == right[0] == image for left, right in pairs)
        assert sorted(tuple(sorted((left[1], right[1]))) for left, right in pairs) == PAIRS


@pytest.mark.parametrize("count", [1, 3, 9])
def test_fewer_pairs_are_sampled_without_repetition(count, codial_of, batch_at):
    positive, negative = sampled_pairs(codial_of(pairs=count), batch_at, steps=60)
    assert positive.shape == negative.shape == (60, IMAGES, count, 2, 2)
    seen = set()
    for step in positive:
        pairs = [tuple(sorted((left[1], right[1]))) for left, right in step[0].tolist()]
        assert len(set(pairs)) == count
        assert all(a != b for a, b in pairs)
        seen |= set(pairs)
    assert seen == set(PAIRS)
    assert (positive[..., 0, 0] == positive[..., 1, 0]).all(), "of the same image"


@pytest.mark.parametrize("negatives", ["random", "same", "roll"])
def test_negatives_never_come_from_the_same_image(negatives, codial_of, batch_at):
    positive, negative = sampled_pairs(codial_of(negatives=negatives), batch_at, steps=40)
    assert (negative[..., 0, 0] != negative[..., 1, 0]).all()
    assert torch.equal(negative[..., 1, :], positive[..., 1, :]), "only the first view is replaced"
    if negatives == "roll":
        assert torch.equal(negative[..., 0, 0], (positive[..., 0, 0] - 1) % IMAGES)
    if negatives != "random":
        assert torch.equal(negative[..., 0, 1], positive[..., 0, 1]), "of the same transform"


def test_random_negatives_are_uniform_over_the_other_images_and_their_views(codial_of, batch_at):
    _, negative = sampled_pairs(codial_of(), batch_at, steps=40)
    left, right = negative[..., 0, :].flatten(0, -2), negative[..., 1, :].flatten(0, -2)
    step = (left[:, 0] - right[:, 0]) % IMAGES
    assert chisquare(torch.bincount(step, minlength=IMAGES)[1:]).pvalue > 1e-3
    for image in range(IMAGES):
        views = torch.bincount(left[right[:, 0] == image, 1], minlength=VIEWS)
        assert chisquare(views).pvalue > 1e-3


@pytest.mark.parametrize("negatives", ["random", "same", "roll"])
def test_two_images_are_enough_for_negatives(negatives, tiny, few, codial_of, generator):
    views = sample_views(few.batch(range(2)), tiny.views, generator)
    terms = codial_of(negatives=negatives).terms(
        Batch(views, few.labels[:2], 0.0, BatchGenerator(generator, 2), torch.arange(2))
    )
    assert torch.isfinite(terms["loss"])


# Heads


def test_classifier_and_head_read_all_or_half_of_fc7(codial_of):
    features = codial_of().backbone.feature_dim
    half = features // 2
    shared, split, decoupled = (codial_of(head=head) for head in ("shared", "split", "decoupled"))
    assert shared.classifier.weight.shape == (VIEWS, features)
    assert shared.loss.head.linear.weight.shape == (16, features)
    assert shared.loss.alignment.critic.left.in_features == 8
    assert split.classifier.weight.shape == (VIEWS, features)
    assert not hasattr(split.loss, "head")
    assert split.loss.alignment.critic.left.in_features == half
    assert decoupled.classifier.weight.shape == (VIEWS, half)
    assert decoupled.loss.head.linear.weight.shape == (16, half)


def gradient_rows(method, batch, term):
    """Return whether the gradient of a term reaches each unit of fc7."""
    method.zero_grad()
    method.terms(batch)[term].backward()
    return method.backbone.fc7[0].weight.grad.abs().sum(1) > 0


def test_decoupled_halves_get_gradients_from_their_own_terms_only(codial_of, batch_at):
    method = codial_of(head="decoupled")
    half = method.backbone.feature_dim // 2
    for term in ("loss_transform", "mi_js", "skl"):
        moved = gradient_rows(method, batch_at(), term)
        own, other = (moved[:half], moved[half:]) if term == "loss_transform" else (moved[half:], moved[:half])
        assert not other.any()
        assert own.float().mean() > 0.5


@pytest.mark.parametrize("head", ["shared", "split"])
def test_with_other_heads_all_terms_reach_both_halves_of_fc7(head, codial_of, batch_at):
    method = codial_of(head=head)
    half = method.backbone.feature_dim // 2
    for term in ("loss_transform", "mi_js", "skl"):
        moved = gradient_rows(method, batch_at(), term)
        assert moved[:half].float().mean() > 0.5
        assert moved[half:].float().mean() > 0.5


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
def test_every_parameter_gets_a_gradient(head, codial_of, batch_at):
    method = codial_of(head=head)
    method.terms(batch_at())["loss"].backward()
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []


# Learning


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
def test_steps_lower_the_loss_of_a_fixed_batch(head, codial_of, batch_at):
    method = codial_of(head=head, negatives="roll").train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = method.terms(batch_at())["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0] - 0.05


def test_with_beta_1_the_codes_of_an_image_become_more_similar(codial_of, batch_at):
    method = codial_of(beta_start=1.0, beta_end=1.0, cls_weight=0.0).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    divergences = []
    for noise in range(15):
        terms = method.terms(batch_at(noise=noise))
        divergences.append(terms["skl"].item())
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert divergences[-1] < 0.5 * divergences[0]


def test_the_same_seed_gives_the_same_terms(codial_of, batch_at):
    method = codial_of().eval()
    first, second, other = (method.terms(batch_at(noise=noise)) for noise in (1, 1, 2))
    assert all(torch.as_tensor(first[k]).equal(torch.as_tensor(second[k])) for k in first)
    assert not torch.equal(first["mi_js"], other["mi_js"])


def test_beta_is_that_of_the_schedule(tiny, codial_of, batch_at):
    for progress in (0.0, 0.3, 0.9):
        assert codial_of().terms(batch_at(progress))["beta"] == tiny.method.beta.at(progress)


def test_fewer_views_mean_fewer_pairs(tiny, few, generator):
    views = replace(tiny.views, primary=("rot0", "rot180", "warp"))
    config = replace(tiny, views=views, method=CodialConfig(pairs=3, z_dim=4, critic_hidden=8))
    method = build(config, classes=8)
    assert isinstance(method, Codial)
    terms = method.terms(
        Batch(
            sample_views(few.batch(range(4)), views, generator),
            few.labels[:4],
            0.0,
            BatchGenerator(generator, 4),
            torch.arange(4),
        )
    )
    assert torch.isfinite(terms["loss"])
    assert method.classifier.out_features == 3


def test_views_of_the_same_transform_are_one_class_but_are_paired_with_each_other(tiny, few, generator):
    """Two upright views and one that is rotated: two classes, three pairs."""
    config = replace(tiny, views=replace(tiny.views, primary=("rot0", "rot90", "rot0")), method=CodialConfig(pairs=3))
    method = build(config)
    views = sample_views(few.batch(range(IMAGES)), config.views, generator)
    batch = Batch(views, few.labels[:IMAGES], 0.5, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))
    matrix = method.eval().confusion(batch)
    assert matrix.classes == method.transforms == ("rot0", "rot90")
    assert matrix.counts.sum(1).tolist() == [2 * IMAGES, IMAGES]
    assert method.terms(batch)["loss"].isfinite()


# Which views are aligned


@pytest.mark.parametrize(
    ("primary", "pairs"),
    [
        (("rot0", "rot90", "rot180", "rot270", "warp"), [[0, 4]]),
        (("rot0", "rot90", "rot0", "warp", "rot90"), [[0, 2], [0, 3], [1, 4], [2, 3]]),
    ],
)
def test_with_rotation_views_of_equal_rotation_are_aligned(primary, pairs, tiny):
    views = replace(tiny.views, primary=primary)
    options = {"align": "rotation", "pairs": len(pairs), "bound": "infonce", "negatives": "batch"}
    method = build(replace(tiny, views=views, method=replace(tiny.method, **options)), classes=8)
    assert method.loss.alignment.pairs.tolist() == pairs
    assert method.classifier.out_features == len(set(primary))


def test_settings_that_do_not_suit_the_views_are_refused(tiny):
    message = r"^method.pairs is 10; expected at most 1, the pairs of 5 views with equal rotation \(or mi_weight 0\)"
    with pytest.raises(CodialError, match=message):
        configured(tiny, align="rotation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": "mine"}, "^method.bound is 'mine'; expected one of js, infonce, nwj, dv"),
        ({"critic": "dot"}, "^method.critic is 'dot'; expected one of mlp, cosine"),
        ({"temperature": 0}, "^method.temperature is 0.0; expected a positive number"),
        ({"align": "some"}, "^method.align is 'some'; expected one of all, rotation"),
        ({"projector": "mlp", "head": "split"}, "^method.projector is 'mlp'; expected one of linear"),
        ({"negatives": "all"}, "^method.negatives is 'all'; expected one of random, same, roll, batch"),
    ],
)
def test_settings_of_the_bound_are_validated(options, message):
    with pytest.raises(CodialError, match=message):
        CodialConfig(**options)


@pytest.mark.parametrize(
    ("options", "nats"),
    [
        ({}, TWO_LN2),
        ({"bound": "infonce"}, math.log(2)),
        ({"bound": "infonce", "negatives": "batch"}, math.log(1 + 7 * 5)),
        ({"bound": "dv"}, math.inf),
    ],
)
def test_the_ceiling_is_that_of_the_bound_and_its_negatives(options, nats, tiny):
    config = configured(tiny, **options)
    assert config.method.ceiling(config) == pytest.approx(nats)
