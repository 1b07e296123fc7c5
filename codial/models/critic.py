"""The critic that tells views of one picture from views of two (equation 4)."""

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Score pairs of codes with a perceptron [2 z_dim -> hidden -> hidden -> 1], as Multi-View Information Bottleneck.

    The first layer is kept as two halves, one a side. A code that takes part in many pairs passes its half once
    (`left`, `right`), and `combine` finishes any pairing; `forward` is the plain form of the same function.

    Args:
        z_dim: dimensions of one code.
        hidden: units in each of the two hidden layers.
    """

    def __init__(self, z_dim: int, hidden: int = 1024) -> None:
        super().__init__()
        self.left = nn.Linear(z_dim, hidden)
        self.right = nn.Linear(z_dim, hidden, bias=False)
        self.tail = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        # One layer's default initialisation, for an input of 2 z_dim.
        bound = (2 * z_dim) ** -0.5
        for parameter in (self.left.weight, self.left.bias, self.right.weight):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return scores [...] of pairs of codes [..., Z]."""
        return self.combine(self.left(z1), self.right(z2))

    def combine(self, left: Tensor, right: Tensor) -> Tensor:
        """Return scores [...] of pairs whose halves [..., H] came from `left` and `right`."""
        return self.tail(torch.add(left, right)).squeeze(-1)
