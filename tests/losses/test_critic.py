import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from codial.errors import CodialError
from codial.losses import CosineCritic, Critic
from codial.losses import critic as critics


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return Critic(6, hidden=20)


def concatenated(critic):
    """The perceptron on concatenated codes, [2 Z -> H -> H -> 1], with the critic's weights."""
    first = nn.Linear(12, 20)
    middle, last = (layer for layer in critic.tail if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight.copy_(torch.cat((critic.left.weight, critic.right.weight), 1))
        first.bias.copy_(critic.left.bias)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)


def test_it_equals_a_perceptron_on_the_concatenation(critic, generator):
    z1, z2 = torch.randn(2, 4, 10, 6, generator=generator)
    expected = concatenated(critic)(torch.cat((z1, z2), -1)).squeeze(-1)
    torch.testing.assert_close(critic(z1, z2), expected)
    assert critic(z1, z2).shape == (4, 10)


def test_halves_computed_once_can_be_combined_in_any_pairs(critic, generator):
    z = torch.randn(5, 3, 6, generator=generator)
    first, second = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    left, right = critic.left(z), critic.right(z)
    scores = critic.combine(left[:, first], right[:, second])
    torch.testing.assert_close(scores, concatenated(critic)(torch.cat((z[:, first], z[:, second]), -1)).squeeze(-1))


def test_it_is_not_symmetric(critic, generator):
    z1, z2 = torch.randn(2, 4, 6, generator=generator)
    assert not torch.allclose(critic(z1, z2), critic(z2, z1))


def test_parameters_and_initialization_are_those_of_one_perceptron(critic):
    # 2 * 64 * 1024 + 1024 + 1024^2 + 1024 + 1024 + 1
    assert sum(p.numel() for p in Critic(64, 1024).parameters()) == 1_182_721
    # torch's default for a linear layer with 2 Z inputs: uniform within 1 / sqrt(2 Z).
    for half in (critic.left.weight, critic.right.weight):
        assert 0.9 * 12**-0.5 < half.abs().max() <= 12**-0.5


@pytest.mark.parametrize("critic", [Critic(6, hidden=20), CosineCritic(0.5)])
def test_the_matrix_has_the_scores_of_all_pairs(critic, generator):
    left, right = torch.randn(4, 6, generator=generator), torch.randn(3, 6, generator=generator)
    matrix = critic.matrix(critic.left(left), critic.right(right))
    expected = torch.stack([torch.stack([critic(a, b) for a in left]) for b in right])
    torch.testing.assert_close(matrix, expected)


def test_a_matrix_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(critics, "MAX_MATRIX", 3 * 4 * 20 - 1)
    message = r"^The critic would score 3 x 4 pairs of views with 20 hidden units.*train.batch"
    with pytest.raises(CodialError, match=message):
        Critic(6, hidden=20).matrix(torch.zeros(4, 20), torch.zeros(3, 20))


def test_cosines_are_those_of_torch(generator):
    a, b = torch.randn(2, 5, 6, generator=generator)
    torch.testing.assert_close(CosineCritic(0.2)(a, b), cosine_similarity(a, b) / 0.2)
