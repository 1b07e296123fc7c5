"""The stochastic head: p(z | view), a diagonal Gaussian (section 3.2)."""

from torch import Tensor, nn
from torch.nn.functional import softplus

SIGMA_FLOOR = 1e-7  # keeps the standard deviation positive, as in Multi-View Information Bottleneck


def to_gaussian(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Split [..., 2 Z] into means and positive standard deviations, float32 [..., Z] each."""
    mu, raw_sigma = raw.float().chunk(2, dim=-1)
    return mu, softplus(raw_sigma) + SIGMA_FLOOR


class StochasticHead(nn.Module):
    """Linear map from features to the mean and standard deviation of a Gaussian code.

    Args:
        features: F, dimensions of the features.
        z_dim: Z, dimensions of the code.
    """

    def __init__(self, features: int, z_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * z_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, float32 [..., Z] each, of features [..., F]."""
        return to_gaussian(self.linear(features))
