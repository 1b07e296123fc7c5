"""CODIAL's loss for any training loop: classify the transform of each view, and align the views of an image."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config.validation import require, require_choice
from codial.errors import CodialError
from codial.losses.alignment import Alignment
from codial.losses.bottleneck import BetaSchedule
from codial.losses.critic import CosineCritic, Critic
from codial.losses.stochastic_head import StochasticHead, to_gaussian
from codial.utils.batch_generator import BatchGenerator

HEADS = ("shared", "split", "decoupled")
CRITICS = ("mlp", "cosine")
PROJECTORS = ("linear", "mlp")


class CodialLoss(nn.Module):
    """Concurrent discrimination and alignment (arXiv 2108.08562, equations 1 and 3-7), with all that it trains.

    `loss = cls_weight * cross_entropy + mi_weight * (beta * divergence - bound)`, all in nats. Its parameters (the
    classifier, the head that makes codes, the critic) are trained together with the backbone's. Defaults are the
    paper's, and where it is silent those of `codial.methods.codial.CodialConfig`.

    Args:
        feature_dim: F, dimensions of the features.
        views: K, views of an image.
        classes: number of transforms to tell apart; None for K, one for each view.
        groups: group of each view; only views of the same group are aligned. None to align all.
        head: what classifier and code read: `shared`, both all features; `split`, the features are the code, [mean |
            raw sigma], and the classifier reads them all; `decoupled`, the first and the second half.
        z_dim: Z, dimensions of the code; unused by `split`.
        projector: the code's map from features, `linear` or `mlp` (Linear, batch norm, ReLU, Linear).
        bottleneck: whether codes are Gaussian, with a divergence; otherwise they are points.
        critic: `mlp`, the paper's, or `cosine`.
        critic_hidden: hidden units of the `mlp` critic.
        temperature: of the `cosine` critic.
        cls_weight: weight of the cross-entropy; without it the classifier learns nothing.
        mi_weight: weight of the alignment; 0 to leave it out.
        bound, pairs, negatives, skl_reduce: see `codial.losses.Alignment`.
        beta: schedule of the weight of the divergence.

    Attributes:
        classifier: logits of the transforms.
        head: features to codes; absent with `split` or without alignment.
        alignment: bound and divergence; absent if mi_weight is 0.

    Raises:
        CodialError: an argument is out of range.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from codial.losses import CodialLoss
        >>> backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 32), nn.ReLU())
        >>> criterion = CodialLoss(feature_dim=32, views=4, z_dim=8, critic_hidden=16)
        >>> optimizer = torch.optim.AdamW([*backbone.parameters(), *criterion.parameters()], lr=1e-3)
        >>> steps = 3
        >>> for step in range(steps):
        ...     images = torch.rand(16, 3, 8, 8)
        ...     views = torch.stack([images.rot90(turns, (2, 3)) for turns in range(4)], 1)  # [16, 4, 3, 8, 8]
        ...     labels = torch.arange(4).expand(16, 4)
        ...     features = backbone(views.flatten(0, 1)).unflatten(0, (16, 4))  # [16, 4, 32]
        ...     loss, terms = criterion(features, labels, progress=step / steps)
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        >>> list(terms)
        ['loss_transform', 'pretext_accuracy', 'mi_js', 'skl', 'beta']
    """

    head: StochasticHead
    alignment: Alignment

    def __init__(
        self,
        feature_dim: int,
        views: int,
        *,
        classes: int | None = None,
        groups: Sequence[Hashable] | None = None,
        head: str = "shared",
        z_dim: int = 64,
        projector: str = "linear",
        bottleneck: bool = True,
        critic: str = "mlp",
        critic_hidden: int = 1024,
        temperature: float = 0.2,
        cls_weight: float = 1.0,
        mi_weight: float = 1.0,
        bound: str = "js",
        pairs: int | None = None,
        negatives: str = "random",
        skl_reduce: str = "sum",
        beta: BetaSchedule = BetaSchedule(),  # noqa: B008
    ) -> None:
        super().__init__()
        require_choice("head", head, HEADS)
        require_choice("projector", projector, PROJECTORS)
        require_choice("critic", critic, CRITICS)
        require(temperature > 0, "temperature", temperature, "a positive number")
        self.feature_dim, self.views = feature_dim, views
        self.head_kind, self.bottleneck = head, bottleneck
        self.cls_weight, self.mi_weight = cls_weight, mi_weight
        self.beta = beta
        half = feature_dim // 2
        inputs = half if head == "decoupled" else feature_dim
        self.classifier = nn.Linear(inputs, views if classes is None else classes)
        if mi_weight > 0:
            if head == "split":
                z_dim = half if bottleneck else feature_dim
            else:
                self.head = StochasticHead(inputs, z_dim, projector, bottleneck)
            scorer = Critic(z_dim, critic_hidden) if critic == "mlp" else CosineCritic(temperature)
            options: dict[str, Any] = {"bound": bound, "pairs": pairs, "negatives": negatives, "groups": groups}
            self.alignment = Alignment(scorer, views, skl_reduce=skl_reduce, **options)

    def forward(
        self,
        features: Tensor,
        labels: Tensor,
        progress: float = 0.0,
        rng: BatchGenerator | torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Compute the loss of a batch.

        Args:
            features: of all views, [B, K, F] float.
            labels: transform of each view, [B, K] int64.
            progress: fraction of the run that is done, in [0, 1], which determines beta.
            rng: random numbers, see `codial.losses.Alignment`.

        Returns:
            The scalar to minimize, and its terms by name: `loss_transform`, `pretext_accuracy`; with alignment the
            bound as `mi_js`, `mi_infonce`, `mi_nwj` or `mi_dv`; with a bottleneck `skl` and `beta`.

        Raises:
            CodialError: the shapes do not fit, or there are fewer than two images to take negatives from.
        """
        if features.shape[:-1] != labels.shape or features.shape[1:] != (self.views, self.feature_dim):
            shapes = f"features are {list(features.shape)} and labels {list(labels.shape)}"
            raise CodialError(f"{shapes}; expected [B, {self.views}, {self.feature_dim}] and [B, {self.views}].")
        logits, flat = self.logits(features.flatten(0, 1)), labels.flatten()
        transform = cross_entropy(logits, flat)  # equation 1
        accuracy = (logits.argmax(1) == flat).float().mean()
        terms: dict[str, Tensor | float] = {"loss_transform": transform, "pretext_accuracy": accuracy}
        loss = self.cls_weight * transform
        if self.mi_weight > 0:
            alignment, more = self._align(features, progress, rng)
            loss, terms = loss + self.mi_weight * alignment, terms | more
        return loss, terms

    def logits(self, features: Tensor) -> Tensor:
        """Return the classifier's logits of the transforms, [N, C] float32, of features [N, F]."""
        return self.classifier(self._split(features)[0]).float()

    def code(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean and standard deviation (None without a bottleneck) of codes, [N, Z], of features [N, F]."""
        inputs = self._split(features)[1]
        if self.head_kind != "split":
            return self.head(inputs)
        return to_gaussian(inputs) if self.bottleneck else (inputs.float(), None)

    def _align(
        self, features: Tensor, progress: float, rng: BatchGenerator | torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Return the loss of the alignment (equation 6), and its terms."""
        mu, sigma = (x if x is None else x.view(*features.shape[:2], -1) for x in self.code(features.flatten(0, 1)))
        assert mu is not None
        bound, skl = self.alignment(mu, sigma, rng)
        name = f"mi_{self.alignment.bound}"
        if skl is None:
            return -bound, {name: bound}
        beta = self.beta.at(progress)
        return beta * skl - bound, {name: bound, "skl": skl, "beta": beta}

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [N, F] that the classifier and the code's head read."""
        if self.head_kind == "decoupled":
            first, second = features.chunk(2, dim=1)
            return first, second
        return features, features
