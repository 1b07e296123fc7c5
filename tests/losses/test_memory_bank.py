import math

import pytest
import torch
from scipy.stats import chisquare
from torch.nn.functional import normalize

from codial.losses.memory_bank import MemoryBank
from codial.utils.distributed import ProcessGroup

N, D, K, T = 30, 8, 12, 0.2


@pytest.fixture
def bank(seed):
    torch.manual_seed(seed)
    return MemoryBank(N, D, momentum=0.25)


@pytest.fixture
def vectors(generator):
    return normalize(torch.randn(5, D, generator=generator))


@pytest.fixture
def indices(generator):
    return torch.cat((torch.tensor([[3], [14], [15], [9], [26]]), torch.randint(N, (5, K), generator=generator)), 1)


def test_scores_are_dot_products_divided_by_the_temperature(bank, vectors, indices):
    scores = bank.scores(vectors, indices, T)
    assert scores.shape == (5, K + 1)
    for i, j in ((0, 0), (2, 7), (4, K)):
        assert scores[i, j].item() == pytest.approx(float(vectors[i] @ bank.memory[indices[i, j]]) / T, rel=1e-5)


def test_nce_equals_a_direct_sum_with_z_of_the_first_batch(bank, vectors, indices):
    """P = exp(score) / Z against K negatives of rate 1 / N each (Wu et al., equations 5 to 8)."""
    scores = bank.scores(vectors, indices, T)
    z = N * sum(math.exp(s) for row in scores.tolist() for s in row) / scores.numel()
    for batch in (scores, 1.7 * scores + 0.3):  # Z does not change
        expected = 0.0
        for row in batch.tolist():
            p = [math.exp(s) / z for s in row]
            expected -= math.log(p[0] / (p[0] + K / N))
            expected -= sum(math.log((K / N) / (q + K / N)) for q in p[1:])
        assert bank.nce(batch, ProcessGroup()).item() == pytest.approx(expected / len(batch), rel=1e-5)
        assert bank.constant.item() == pytest.approx(z, rel=1e-5)


@pytest.mark.parametrize("identical", [5, 50])
def test_the_best_temperature_of_nce_depends_on_the_number_of_identical_images(identical, generator):
    """Of N images, G each are identical, so the posterior of the positive is 1 / G at best.

    exp(1 / T) / Z, with Z about N, should equal 1 / G, so T is about 1 / ln(N / G) for any K. At a far lower T the loss
    is above chance, ln(1 + K) + K ln(1 + 1 / K).
    """
    images, dims, negatives = 4000, 128, 512
    bank = MemoryBank(images, dims, momentum=0.5)
    bank.memory = normalize(torch.randn(images // identical, dims, generator=generator)).repeat_interleave(identical, 0)
    positives = torch.randint(images, (400, 1), generator=generator)
    indices = torch.cat((positives, torch.randint(images, (400, negatives), generator=generator)), 1)

    def loss(temperature):
        bank.constant.fill_(images * math.exp(0.5 / dims / temperature**2))  # N times the mean over the sphere
        return bank.nce(bank.scores(bank.memory[positives.squeeze(1)], indices, temperature), ProcessGroup()).item()

    best = 1 / math.log(images / identical)
    assert loss(best) < min(loss(best / 1.5), loss(best * 1.5)) - 0.1
    if identical == 50:
        assert loss(0.07) > 3 * (math.log(1 + negatives) + negatives * math.log(1 + 1 / negatives))


def test_infonce_is_the_cross_entropy_of_the_positive(bank, vectors, indices):
    scores = bank.scores(vectors, indices, T)
    expected = -sum(math.log(math.exp(row[0]) / sum(map(math.exp, row))) for row in scores.tolist()) / 5
    assert bank.infonce(scores).item() == pytest.approx(expected, rel=1e-5)


def test_an_update_moves_vectors_by_the_momentum_and_normalizes_them(bank, vectors, indices):
    before = bank.memory.clone()
    bank.update(indices[:, 0], vectors, ProcessGroup())
    for i, index in enumerate(indices[:, 0].tolist()):
        moved = 0.25 * before[index] + 0.75 * vectors[i]
        torch.testing.assert_close(bank.memory[index], moved / moved.norm())
    others = [n for n in range(N) if n not in indices[:, 0].tolist()]
    assert torch.equal(bank.memory[others], before[others])


def test_an_update_does_not_change_gradients_of_earlier_scores(bank, vectors, indices):
    def gradient(update):
        embeddings = vectors.clone().requires_grad_()
        loss = bank.nce(bank.scores(embeddings, indices, T), ProcessGroup())
        if update:
            bank.update(indices[:, 0], embeddings, ProcessGroup())
        loss.backward()
        return embeddings.grad

    assert torch.equal(gradient(False), gradient(True))
    assert not bank.memory.requires_grad


def test_the_initial_vectors_are_uniform_with_length_one_on_average(seed):
    torch.manual_seed(seed)
    memory = MemoryBank(4000, 128, 0.5).memory
    assert memory.norm(dim=1).mean().item() == pytest.approx(1, abs=0.01)
    limit = (3 / 128) ** 0.5
    assert chisquare(torch.histc(memory, 10, -limit, limit)).pvalue > 1e-3
