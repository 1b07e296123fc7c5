"""Alignment as a module of its own; tests/methods/test_codial.py compares its terms with the equations."""

from itertools import combinations

import pytest
import torch
from torch import nn

from codial.errors import CodialError
from codial.losses import BOUNDS, TWO_LN2, Alignment, CosineCritic, Critic
from codial.utils.batch_generator import BatchGenerator

IMAGES, VIEWS, DIMS = 6, 5, 4


@pytest.fixture
def codes(generator):
    mu = torch.randn(IMAGES, VIEWS, DIMS, generator=generator)
    sigma = 0.3 + torch.rand(IMAGES, VIEWS, DIMS, generator=generator)
    return mu, sigma


@pytest.fixture
def alignment_of(seed):
    def make(**options):
        torch.manual_seed(seed)
        return Alignment(Critic(DIMS, hidden=8), VIEWS, **{"pairs": 10} | options)

    return make


def rng_for(images=IMAGES, seed=3):
    return BatchGenerator(torch.Generator().manual_seed(seed), images)


def test_only_the_critic_has_state(alignment_of):
    alignment = alignment_of()
    assert {name for name, _ in alignment.named_parameters()} == set(alignment.state_dict())
    assert all(name.startswith("critic.") for name in alignment.state_dict())


def test_with_roll_and_all_pairs_rotating_the_batch_changes_nothing(alignment_of, codes):
    mu, sigma = codes[0], torch.full_like(codes[1], 1e-9)  # no noise, which depends on the order of the images
    alignment = alignment_of(negatives="roll")
    bound, _ = alignment(mu, sigma, rng_for())
    rotated, _ = alignment(mu.roll(2, 0), sigma, rng_for())
    torch.testing.assert_close(bound, rotated)


@pytest.mark.parametrize("skl_reduce", ["sum", "mean"])
def test_the_divergence_does_not_change_when_all_codes_are_translated(skl_reduce, alignment_of, codes):
    mu, sigma = codes
    alignment = alignment_of(skl_reduce=skl_reduce)
    _, divergence = alignment(mu, sigma, rng_for())
    _, translated = alignment(mu + 7, sigma, rng_for())
    assert divergence > 0
    torch.testing.assert_close(divergence, translated, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("negatives", ["random", "same", "roll", "batch"])
def test_two_images_are_enough(negatives, alignment_of, codes):
    mu, sigma = (part[:2] for part in codes)
    assert all(torch.isfinite(term) for term in alignment_of(negatives=negatives)(mu, sigma, rng_for(2)))


@pytest.mark.parametrize("negatives", ["random", "same", "roll", "batch"])
def test_a_single_image_is_refused(negatives, alignment_of, codes):
    mu, sigma = (part[:1] for part in codes)
    with pytest.raises(CodialError, match=r"^The batch has 1 image\(s\); negatives need at least 2"):
        alignment_of(negatives=negatives)(mu, sigma, rng_for(1))


@pytest.mark.parametrize(
    ("mu", "sigma", "message"),
    [
        ((6, 4, 4), (6, 4, 4), r"^mu is \[6, 4, 4\] and sigma \[6, 4, 4\]; expected \[B, 5, Z\] for both"),
        ((6, 5, 4), (6, 5, 3), r"^mu is \[6, 5, 4\] and sigma \[6, 5, 3\]; expected"),
        ((30, 4), (30, 4), r"^mu is \[30, 4\]"),
        ((7, 5, 4), (7, 5, 4), r"^mu holds 7 images; expected 6, the number that rng was made for"),
    ],
)
def test_invalid_shapes_are_refused(mu, sigma, message, alignment_of):
    with pytest.raises(CodialError, match=message):
        alignment_of()(torch.zeros(mu), torch.ones(sigma), rng_for())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 11}, r"^pairs is 11; expected 1 to 10, the number of pairs of 5 views"),
        ({"pairs": 0}, r"^pairs is 0; expected 1 to 10"),
        ({"negatives": "other"}, r"^negatives is 'other'; expected one of random, same, roll, batch"),
        ({"bound": "mine"}, r"^bound is 'mine'; expected one of js, infonce, nwj, dv"),
        ({"groups": "abc"}, r"^groups is 'abc'; expected 5 groups, one for each view"),
        ({"groups": "abcde", "pairs": None}, r"^views is 5; expected at least two views that may be aligned"),
        ({"groups": "aabbc", "pairs": 3}, r"^pairs is 3; expected 1 to 2, the number of pairs of 5 views within their"),
        ({"skl_reduce": "max"}, r"^skl_reduce is 'max'; expected one of sum, mean"),
    ],
)
def test_invalid_options_are_refused(options, message, alignment_of):
    with pytest.raises(CodialError, match=message):
        alignment_of(**options)


def test_a_plain_training_loop_raises_the_bound(generator, seed):
    """Views are an image's vector plus noise; an encoder and the critic learn to recognize views of one image."""
    torch.manual_seed(seed)
    encoder, alignment = nn.Linear(8, 2 * DIMS), Alignment(Critic(DIMS, hidden=32), VIEWS, pairs=4, negatives="same")
    optimizer, bounds = torch.optim.Adam([*encoder.parameters(), *alignment.parameters()], lr=1e-2), []
    for _ in range(150):
        views = torch.randn(32, 1, 8, generator=generator) + 0.1 * torch.randn(32, VIEWS, 8, generator=generator)
        mu, raw_sigma = encoder(views).chunk(2, -1)
        bound, divergence = alignment(mu, nn.functional.softplus(raw_sigma), BatchGenerator(generator, 32))
        optimizer.zero_grad()
        (1e-3 * divergence - bound).backward()
        optimizer.step()
        bounds.append(bound.item())
    assert bounds[0] < 0.1
    assert 0.5 < sum(bounds[-10:]) / 10 < TWO_LN2


# All negatives of the batch


def scores_one_by_one(critic, z, pairs):
    """Return each positive's score with those of its negatives: both views of a pair are the anchor, on the right."""
    positive, negative = [], []
    for i in range(len(z)):
        for a, b in [*pairs, *((b, a) for a, b in pairs)]:
            positive.append(critic(z[i, a], z[i, b]))
            others = [critic(z[j, v], z[i, b]) for j in range(len(z)) if j != i for v in range(VIEWS)]
            negative.append(torch.stack(others))
    return torch.stack(positive), torch.stack(negative)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("critic", [CosineCritic(0.2), Critic(DIMS, hidden=8)])
@pytest.mark.parametrize("groups", ["aaaaa", "abacb"])
def test_with_batch_every_view_of_every_other_image_is_a_negative(bound, critic, groups, codes):
    """Compared with a loop over images and pairs; other views of the image itself are left out."""
    pairs = [(a, b) for a, b in combinations(range(VIEWS), 2) if groups[a] == groups[b]]
    alignment = Alignment(critic, VIEWS, bound=bound, negatives="batch", groups=groups)
    found, divergence = alignment(codes[0])
    positive, negative = scores_one_by_one(critic, codes[0], pairs)
    assert negative.shape == (IMAGES * 2 * len(pairs), (IMAGES - 1) * VIEWS)
    torch.testing.assert_close(found, BOUNDS[bound](positive, negative))
    assert divergence is None


@pytest.mark.parametrize("bound", BOUNDS)
def test_with_batch_the_order_of_images_changes_nothing(bound, codes, generator):
    alignment = Alignment(CosineCritic(0.2), VIEWS, bound=bound, negatives="batch")
    order = torch.randperm(IMAGES, generator=generator)
    torch.testing.assert_close(alignment(codes[0])[0], alignment(codes[0][order])[0])


def test_a_sampled_pair_is_scored_against_all_negatives(codes):
    alignment = Alignment(CosineCritic(0.2), VIEWS, bound="infonce", negatives="batch", pairs=1)
    of_pairs = [scores_one_by_one(alignment.critic, codes[0], [pair]) for pair in combinations(range(VIEWS), 2)]
    possible = {round(BOUNDS["infonce"](*scores).item(), 4) for scores in of_pairs}
    found = {round(alignment(codes[0], None, rng_for(seed=seed))[0].item(), 4) for seed in range(12)}
    assert found <= possible
    assert len(found) > 3


# The cosine critic, points, and random numbers


def test_the_cosine_critic_ignores_lengths(codes, generator):
    alignment = Alignment(CosineCritic(0.2), VIEWS, bound="infonce", negatives="batch")
    scale = 0.1 + torch.rand(IMAGES, VIEWS, 1, generator=generator)
    torch.testing.assert_close(alignment(codes[0])[0], alignment(scale * codes[0])[0])


def test_a_point_is_a_code_without_variance(alignment_of, codes):
    alignment = alignment_of(negatives="roll")
    bound, divergence = alignment(codes[0], torch.full_like(codes[1], 1e-12), rng_for())
    point, nothing = alignment(codes[0], None, rng_for())
    torch.testing.assert_close(point, bound)
    assert divergence is not None
    assert nothing is None


def test_a_generator_gives_the_numbers_of_a_batch_generator(alignment_of, codes):
    alignment = alignment_of()
    expected = alignment(*codes, rng_for(seed=3))
    assert alignment(*codes, torch.Generator().manual_seed(3)) == expected
    torch.manual_seed(3)
    assert alignment(*codes) == expected, "torch's global generator"


@pytest.mark.parametrize("negatives", ["random", "batch"])
@pytest.mark.parametrize("bound", BOUNDS)
def test_gradients_reach_codes_and_critic(bound, negatives, alignment_of, codes):
    alignment = alignment_of(bound=bound, negatives=negatives)
    mu, sigma = (part.clone().requires_grad_() for part in codes)
    alignment(mu, sigma, rng_for())[0].backward()
    for values in (mu, sigma, *alignment.parameters()):
        assert values.grad.isfinite().all()
    assert mu.grad.abs().sum(-1).min() > 0
    assert all(p.grad.any() for name, p in alignment.named_parameters() if name != "critic.tail.3.bias")
