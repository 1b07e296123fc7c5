"""The code of a view: a diagonal Gaussian p(z | view) (section 3.2), or a point."""

from torch import Tensor, nn
from torch.nn.functional import softplus

SIGMA_FLOOR = 1e-7  # keeps the standard deviation positive, as in Multi-View Information Bottleneck


def to_gaussian(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Split [..., 2 Z] into means and positive standard deviations, float32 [..., Z] each."""
    mu, raw_sigma = raw.float().chunk(2, dim=-1)
    return mu, softplus(raw_sigma) + SIGMA_FLOOR


def hidden_layer(features: int) -> nn.Sequential:
    """Return Linear(F, F), batch norm and ReLU on rows [N, F]: what a projector has below its last layer.

    The linear map has no bias: batch norm would cancel it, but where features hardly differ between images, as those of
    an untrained network, float32 would round their differences to those of the bias.
    """
    return nn.Sequential(nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU())


class StochasticHead(nn.Module):
    """Linear map from features to the mean and standard deviation of a Gaussian code.

    Args:
        features: F, dimensions of the features.
        z_dim: Z, dimensions of the code.
        projector: `linear`, or `mlp` for a hidden layer with batch norm before it, as in SimCLR (arXiv 2002.05709).
        bottleneck: whether the code is Gaussian; otherwise it is a point, without a standard deviation.
    """

    def __init__(self, features: int, z_dim: int, projector: str = "linear", bottleneck: bool = True) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.hidden = hidden_layer(features) if projector == "mlp" else nn.Identity()
        self.linear = nn.Linear(features, 2 * z_dim if bottleneck else z_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean and standard deviation (None for a point), float32 [N, Z] each, of features [N, F]."""
        raw = self.linear(self.hidden(features))
        return to_gaussian(raw) if self.bottleneck else (raw.float(), None)
