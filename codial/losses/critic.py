"""Critics, which score whether two codes are views of the same image (equation 4).

A critic maps each code once for each side of a pair (`left`, `right`); `combine` scores pairs of these outputs one by
one, and `matrix` all pairs of two sets of them.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from codial.errors import CodialError

MAX_MATRIX = 2**29  # numbers in a hidden layer of `Critic.matrix`: 2 GiB in float32


class Critic(nn.Module):
    """Perceptron [2 Z -> hidden -> hidden -> 1] on pairs of codes, as in Multi-View Information Bottleneck.

    The first layer is split into a left and a right half, one for each code of a pair, so that a code that takes part
    in many pairs passes its half only once.

    Args:
        z_dim: Z, dimensions of a code.
        hidden: H, units of each of the two hidden layers.
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
        """Return the scores [...] of pairs of outputs [..., H] of `left` and `right`."""
        return self.tail(torch.add(left, right)).squeeze(-1)

    def matrix(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the scores [M, N] of all pairs of M outputs of `right` and N of `left`.

        Time and memory are those of M N pairs: 4 M N H numbers are kept for the gradient, 0.4 GB for 32 images of 5
        views in one process and H = 1024.

        Raises:
            CodialError: a hidden layer would have more than `MAX_MATRIX` numbers.
        """
        if len(left) * len(right) * left.shape[1] > MAX_MATRIX:
            raise CodialError(
                f"The critic would score {len(right)} x {len(left)} pairs of views with {left.shape[1]} hidden units,"
                " more than 2 GiB per layer; expected fewer images per step (train.batch), a smaller"
                " method.critic_hidden, method.critic cosine, or other negatives than batch."
            )
        return self.combine(left.unsqueeze(0), right.unsqueeze(1))


class CosineCritic(nn.Module):
    """Cosine of the angle between two codes, divided by a temperature, as in SimCLR (arXiv 2002.05709).

    Args:
        temperature: T, positive; scores are in [-1 / T, 1 / T].

    Example:
        >>> import torch
        >>> CosineCritic(temperature=0.2)(torch.tensor([3.0, 0.0]), torch.tensor([7.0, 0.0]))
        tensor(5.)
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the scores [...] of pairs of codes [..., Z]."""
        return self.combine(self.left(z1), self.right(z2))

    def left(self, z: Tensor) -> Tensor:
        """Return codes [..., Z] scaled to length 1."""
        return normalize(z, dim=-1)

    right = left

    def combine(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the scores [...] of pairs of outputs [..., Z] of `left` and `right`."""
        return (left * right).sum(-1) / self.temperature

    def matrix(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the scores [M, N], at least float32, of all pairs of M outputs of `right` and N of `left`."""
        with torch.autocast(left.device.type, enabled=False):
            return right @ left.T / self.temperature
