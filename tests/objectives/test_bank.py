import math

import pytest
import torch
from scipy.stats import chisquare
from torch.nn.functional import normalize

from codial.objectives.bank import Bank
from codial.ranks import Ranks

N, D, K, T = 30, 8, 12, 0.2


@pytest.fixture
def bank(seed):
    torch.manual_seed(seed)
    return Bank(N, D, momentum=0.25)


@pytest.fixture
def vectors(generator):
    return normalize(torch.randn(5, D, generator=generator))


@pytest.fixture
def places(generator):
    return torch.cat((torch.tensor([[3], [14], [15], [9], [26]]), torch.randint(N, (5, K), generator=generator)), 1)


def test_scores_are_products_over_the_temperature(bank, vectors, places):
    found = bank.scores(vectors, places, T)
    assert found.shape == (5, K + 1)
    for i, j in ((0, 0), (2, 7), (4, K)):
        assert found[i, j].item() == pytest.approx(float(vectors[i] @ bank.memory[places[i, j]]) / T, rel=1e-5)


def test_noise_contrastive_estimation_is_a_direct_sum_with_z_of_the_first_batch(bank, vectors, places):
    """P = exp(s) / Z against K draws of rate 1 / N each (Wu et al., equations 5 to 8)."""
    scores = bank.scores(vectors, places, T)
    z = N * sum(math.exp(s) for row in scores.tolist() for s in row) / scores.numel()
    for now in (scores, 1.7 * scores + 0.3):  # Z stays
        expected = 0.0
        for row in now.tolist():
            p = [math.exp(s) / z for s in row]
            expected -= math.log(p[0] / (p[0] + K / N))
            expected -= sum(math.log((K / N) / (q + K / N)) for q in p[1:])
        assert bank.nce(now, Ranks()).item() == pytest.approx(expected / len(now), rel=1e-5)
        assert bank.constant.item() == pytest.approx(z, rel=1e-5)


@pytest.mark.parametrize("alike", [5, 50])
def test_estimation_is_at_its_best_at_a_temperature_that_fits_how_many_places_are_alike(alike, generator):
    """Nobody can tell G alike of N apart: a place is one's own with 1 / G, so exp(1 / T) / Z is best at 1 / G, with Z
    about N: T is about 1 / ln(N / G), for any K. A far lower T is worse than guessing, ln(1 + K) + K ln(1 + 1 / K)."""
    pictures, dims, drawn = 4000, 128, 512
    bank = Bank(pictures, dims, momentum=0.5)
    bank.memory = normalize(torch.randn(pictures // alike, dims, generator=generator)).repeat_interleave(alike, 0)
    own = torch.randint(pictures, (400, 1), generator=generator)
    places = torch.cat((own, torch.randint(pictures, (400, drawn), generator=generator)), 1)

    def loss(temperature):
        bank.constant.fill_(pictures * math.exp(0.5 / dims / temperature**2))  # N times the mean over the sphere
        return bank.nce(bank.scores(bank.memory[own.squeeze(1)], places, temperature), Ranks()).item()

    best = 1 / math.log(pictures / alike)
    assert loss(best) < min(loss(best / 1.5), loss(best * 1.5)) - 0.1
    if alike == 50:
        assert loss(0.07) > 3 * (math.log(1 + drawn) + drawn * math.log(1 + 1 / drawn))


def test_infonce_is_the_softmax_of_the_own_place(bank, vectors, places):
    scores = bank.scores(vectors, places, T)
    expected = -sum(math.log(math.exp(row[0]) / sum(map(math.exp, row))) for row in scores.tolist()) / 5
    assert bank.infonce(scores).item() == pytest.approx(expected, rel=1e-5)


def test_the_memory_moves_by_its_momentum_and_stays_on_the_sphere(bank, vectors, places):
    before = bank.memory.clone()
    bank.remember(places[:, 0], vectors, Ranks())
    for i, place in enumerate(places[:, 0].tolist()):
        moved = 0.25 * before[place] + 0.75 * vectors[i]
        torch.testing.assert_close(bank.memory[place], moved / moved.norm())
    others = [n for n in range(N) if n not in places[:, 0].tolist()]
    assert torch.equal(bank.memory[others], before[others])


def test_gradients_are_those_of_the_memory_that_gave_the_scores(bank, vectors, places):
    def gradient(remember):
        asked = vectors.clone().requires_grad_()
        loss = bank.nce(bank.scores(asked, places, T), Ranks())
        if remember:
            bank.remember(places[:, 0], asked, Ranks())
        loss.backward()
        return asked.grad

    assert torch.equal(gradient(False), gradient(True))
    assert not bank.memory.requires_grad


def test_a_new_memory_is_uniform_with_length_one_on_average(seed):
    torch.manual_seed(seed)
    memory = Bank(4000, 128, 0.5).memory
    assert memory.norm(dim=1).mean().item() == pytest.approx(1, abs=0.01)
    reach = (3 / 128) ** 0.5
    assert chisquare(torch.histc(memory, 10, -reach, reach)).pvalue > 1e-3
