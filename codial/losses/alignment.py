"""CODIAL's alignment of the views of an image: a bound on mutual information and a divergence between codes."""

from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from codial.config.validation import require, require_choice
from codial.errors import CodialError
from codial.losses.mutual_information import js_bound, symmetrised_kl
from codial.utils.batch_generator import BatchGenerator


class Alignment(nn.Module):
    """Jensen-Shannon bound (equation 4) and symmetrized KL divergence (equation 5) over pairs of views.

    CODIAL (arXiv 2108.08562) maximizes the bound and minimizes the divergence: `loss = beta * divergence - bound`.

    Args:
        critic: scores pairs of codes; `codial.models.Critic` or a module with the same `left`, `right` and `combine`.
        views: K, number of views of an image.
        pairs: number of pairs of views to align in a step, sampled from all K (K - 1) / 2 without replacement.
        negatives: what replaces the first view of a pair: `random`, any view of another image; `same`, the same view
            of another image; `roll`, the same view of the previous image in the batch.
        skl_reduce: reduction of the divergence over the dimensions of a code, `sum` or `mean`.

    Raises:
        CodialError: an argument is out of range.

    Example:
        >>> import torch
        >>> from codial.losses import Alignment
        >>> from codial.models import Critic
        >>> from codial.utils.batch_generator import BatchGenerator
        >>> alignment = Alignment(Critic(z_dim=16, hidden=32), views=5, pairs=10)
        >>> mu, sigma = torch.zeros(8, 5, 16), torch.ones(8, 5, 16)  # codes of 8 images, 5 views each
        >>> rng = BatchGenerator(torch.Generator().manual_seed(0), images=8)
        >>> bound, divergence = alignment(mu, sigma, rng)
        >>> loss = 0.01 * divergence - bound
        >>> divergence.item()  # all codes are alike
        0.0
    """

    critic: Any  # nn.Module has no types for its children
    pairs: Tensor

    def __init__(
        self,
        critic: nn.Module,
        views: int,
        *,
        pairs: int,
        negatives: str = "random",
        skl_reduce: str = "sum",
    ) -> None:
        super().__init__()
        possible = views * (views - 1) // 2
        require(1 <= pairs <= possible, "pairs", pairs, f"1 to {possible}, the number of pairs of {views} views")
        require_choice("negatives", negatives, ("random", "same", "roll"))
        require_choice("skl_reduce", skl_reduce, ("sum", "mean"))
        self.critic = critic
        self.views = views
        self.pair_count = pairs
        self.negatives = negatives
        self.skl_reduce = skl_reduce
        all_pairs = torch.tensor(list(combinations(range(views), 2)))
        self.register_buffer("pairs", all_pairs, persistent=False)  # [K (K - 1) / 2, 2], lower index first

    def forward(self, mu: Tensor, sigma: Tensor, rng: BatchGenerator) -> tuple[Tensor, Tensor]:
        """Compute the bound and the divergence, averaged over images and pairs.

        Args:
            mu: means of the Gaussian codes, [B, K, Z] float.
            sigma: their standard deviations, [B, K, Z] float, positive.
            rng: random numbers of this step, for B images.

        Returns:
            Jensen-Shannon bound and symmetrized KL divergence, two scalars in nats.

        Raises:
            CodialError: the shapes do not fit, or there are fewer than two images to take negatives from.
        """
        self._check(mu, sigma, rng)
        z = mu + sigma * rng.normal(*mu.shape[1:])  # reparameterization: gradients reach both
        first, second = self._sample_pairs(rng)
        left, right = self.critic.left(z), self.critic.right(z)  # [B, K, H]
        # index_select, because the gradient of plain indexing is summed in no fixed order by several threads.
        positive = left.index_select(1, first)  # [B, P, H]
        pool = rng.processes.gather(left).flatten(0, 1)
        negative = pool.index_select(0, self._sample_negatives(len(pool), first, rng)).view_as(positive)
        scores = self.critic.combine(torch.stack((positive, negative)), right.index_select(1, second))  # [2, B, P]
        return js_bound(scores[0], scores[1]), self._divergence(mu, sigma, first, second)

    def _check(self, mu: Tensor, sigma: Tensor, rng: BatchGenerator) -> None:
        if mu.ndim != 3 or mu.shape[1] != self.views or sigma.shape != mu.shape:
            shapes = f"mu is {list(mu.shape)} and sigma {list(sigma.shape)}"
            raise CodialError(f"{shapes}; expected [B, {self.views}, Z] for both: images, views, dimensions.")
        images = rng.shard.stop - rng.shard.start
        if len(mu) != images:
            raise CodialError(f"mu holds {len(mu)} images; expected {images}, the number that rng was made for.")
        if rng.global_batch < 2:
            raise CodialError(f"The batch has {rng.global_batch} image(s); negatives need at least 2.")

    def _sample_pairs(self, rng: BatchGenerator) -> tuple[Tensor, Tensor]:
        """Sample this step's pairs of views without replacement, as two index tensors [P] (first < second)."""
        pairs = self.pairs
        if self.pair_count < len(pairs):
            pairs = pairs[rng.permutation(len(pairs))[: self.pair_count]]
        return pairs[:, 0], pairs[:, 1]

    def _sample_negatives(self, pool: int, first: Tensor, rng: BatchGenerator) -> Tensor:
        """Sample replacements for the first views of all pairs: indices into the pool, [B * P].

        Args:
            pool: number of views to choose from, K for each image of the global batch, image by image.
            first: index of the first view of each pair, [P].
            rng: random numbers of this step.
        """
        images = pool // self.views
        pairs = len(first)
        image = torch.arange(rng.shard.start, rng.shard.stop, device=first.device).unsqueeze(1)
        view = first.expand(len(image), -1)
        if self.negatives == "roll":
            return ((image - 1) % images * self.views + view).flatten()
        other = (image + rng.integers(1, images, pairs)) % images  # never the image itself
        if self.negatives == "random":
            # Uniform, as in the paper. The critic can recognize some by their transform alone (up to 0.35 nats).
            view = rng.integers(0, self.views, pairs)
        return (other * self.views + view).flatten()

    def _divergence(self, mu: Tensor, sigma: Tensor, first: Tensor, second: Tensor) -> Tensor:
        a, b = ((mu.index_select(1, side), sigma.index_select(1, side)) for side in (first, second))
        return symmetrised_kl(*a, *b).mean() / (mu.shape[-1] if self.skl_reduce == "mean" else 1)
