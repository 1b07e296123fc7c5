"""The critic, which scores whether two codes are views of the same image (equation 4)."""

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Perceptron [2 Z -> hidden -> hidden -> 1] on pairs of codes, as in Multi-View Information Bottleneck.

    The first layer is split into a left and a right half, one for each code of a pair. A code that takes part in many
    pairs passes its half only once (`left`, `right`); `combine` scores any pair of outputs. `forward` does both.

    Args:
        z_dim: Z, dimensions of a code.
        hidden: units of each of the two hidden layers.
    """

    def __init__(self, z_dim: int, hidden: int = 1024) -> None:
        super().__init__()
        self.left = nn.Linear(z_dim, hidden)
        self.right = nn.Linear(z_dim, hidden, bias=False)
        self.tail = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        bound = (2 * z_dim) ** -0.5  # default initialization of one linear layer with 2 Z inputs
        for parameter in (self.left.weight, self.left.bias, self.right.weight):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the scores [...] of pairs of codes [..., Z]."""
        return self.combine(self.left(z1), self.right(z2))

    def combine(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the scores [...] of pairs of outputs [..., hidden] of `left` and `right`."""
        return self.tail(torch.add(left, right)).squeeze(-1)
