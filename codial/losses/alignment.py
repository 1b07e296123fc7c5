"""CODIAL's alignment of the views of an image: a bound on mutual information and a divergence between codes."""

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from codial.config.validation import require, require_choice
from codial.errors import CodialError
from codial.losses.bottleneck import symmetrised_kl
from codial.losses.bounds import BOUNDS
from codial.utils.batch_generator import BatchGenerator, batch_generator

NEGATIVES = ("random", "same", "roll", "batch")


def pairs_of_views(groups: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return the pairs of views that belong to the same group, lower index first.

    Example:
        >>> pairs_of_views([0, 90, 180, 0])
        [(0, 3)]
    """
    return [(a, b) for a, b in combinations(range(len(groups)), 2) if groups[a] == groups[b]]


class Alignment(nn.Module):
    """Bound on mutual information (equation 4) and symmetrized KL divergence (equation 5) over pairs of views.

    CODIAL (arXiv 2108.08562) maximizes the bound and minimizes the divergence: `loss = beta * divergence - bound`.

    Args:
        critic: scores pairs of codes; `Critic`, `CosineCritic`, or a module with the same `left`, `right`, `combine`
            and `matrix`.
        views: K, number of views of an image.
        pairs: number of pairs of views to align in a step, sampled from all that may be aligned without replacement;
            None for all.
        bound: a name in `codial.losses.BOUNDS`: `js` (the paper's), `infonce`, `nwj` or `dv`.
        negatives: what replaces the first view of a pair: `random`, any view of another image; `same`, the same view
            of another image; `roll`, the same view of the previous image in the batch; `batch`, all K views of all
            other images, once for each view of the pair as the anchor. These are (B - 1) K negatives per positive; the
            other views of the image itself are neither positives nor negatives of the pair.
        groups: group of each view; only views of the same group are aligned. None to align all.
        skl_reduce: reduction of the divergence over the dimensions of a code, `sum` or `mean`.

    Raises:
        CodialError: an argument is out of range.

    Example:
        >>> import torch
        >>> from codial.losses import Alignment, CosineCritic, Critic
        >>> alignment = Alignment(Critic(z_dim=16, hidden=32), views=5)
        >>> mu, sigma = torch.zeros(8, 5, 16), torch.ones(8, 5, 16)  # codes of 8 images, 5 views each
        >>> bound, divergence = alignment(mu, sigma, torch.Generator().manual_seed(0))
        >>> loss = 0.01 * divergence - bound
        >>> divergence.item()  # all codes are alike
        0.0

        SimCLR's form: every view of an image against all views of all others, without a bottleneck.

        >>> contrastive = Alignment(CosineCritic(temperature=0.2), views=5, bound="infonce", negatives="batch")
        >>> codes = torch.eye(8).unsqueeze(1).repeat(1, 5, 1)  # those of an image alike, of two images orthogonal
        >>> round(contrastive(codes)[0].item(), 2)  # at most ln(1 + 7 * 5)
        3.37
    """

    critic: Any  # nn.Module has no types for its children
    pairs: Tensor

    def __init__(
        self,
        critic: nn.Module,
        views: int,
        *,
        pairs: int | None = None,
        bound: str = "js",
        negatives: str = "random",
        groups: Sequence[Hashable] | None = None,
        skl_reduce: str = "sum",
    ) -> None:
        super().__init__()
        groups = [None] * views if groups is None else groups
        require(len(groups) == views, "groups", groups, f"{views} groups, one for each view")
        possible = pairs_of_views(groups)
        of = f"{views} views" if len(set(groups)) == 1 else f"{views} views within their groups"
        require(len(possible) > 0, "views", views, "at least two views that may be aligned")
        pairs = len(possible) if pairs is None else pairs
        require(1 <= pairs <= len(possible), "pairs", pairs, f"1 to {len(possible)}, the number of pairs of {of}")
        require_choice("bound", bound, tuple(BOUNDS))
        require_choice("negatives", negatives, NEGATIVES)
        require_choice("skl_reduce", skl_reduce, ("sum", "mean"))
        self.critic = critic
        self.views = views
        self.pair_count = pairs
        self.bound = bound
        self.negatives = negatives
        self.skl_reduce = skl_reduce
        self.register_buffer("pairs", torch.tensor(possible), persistent=False)  # [K (K - 1) / 2, 2] if all

    def forward(
        self, mu: Tensor, sigma: Tensor | None = None, rng: BatchGenerator | torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the bound and the divergence, averaged over images and pairs.

        Args:
            mu: means of the Gaussian codes, [B, K, Z] float.
            sigma: their standard deviations, [B, K, Z] float, positive; None if the codes are the means themselves.
            rng: random numbers: a `BatchGenerator` for B images, with which several processes share a batch; or a
                generator on the device of `mu`; None for torch's global one.

        Returns:
            Bound and symmetrized KL divergence, two scalars in nats. The divergence of points is None.

        Raises:
            CodialError: the shapes do not fit, or there are fewer than two images to take negatives from.
        """
        rng = batch_generator(rng, len(mu), mu.device)
        self._check(mu, sigma, rng)
        z = mu if sigma is None else mu + sigma * rng.normal(*mu.shape[1:])  # gradients reach both
        first, second = self._sample_pairs(rng)
        left, right = self.critic.left(z), self.critic.right(z)  # [B, K, H]
        score = self._score_batch if self.negatives == "batch" else self._score_samples
        positive, negative = score(left, right, first, second, rng)
        if self.bound == "dv":  # the logarithm of a mean over all negatives, of all processes
            positive, negative = rng.processes.gather(positive), rng.processes.gather(negative)
        return BOUNDS[self.bound](positive, negative), self._divergence(mu, sigma, first, second)

    def _check(self, mu: Tensor, sigma: Tensor | None, rng: BatchGenerator) -> None:
        fits = mu.ndim == 3 and mu.shape[1] == self.views
        if not fits or (sigma is not None and sigma.shape != mu.shape):
            shapes = f"mu is {list(mu.shape)}" + ("" if sigma is None else f" and sigma {list(sigma.shape)}")
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

    def _score_samples(
        self, left: Tensor, right: Tensor, first: Tensor, second: Tensor, rng: BatchGenerator
    ) -> tuple[Tensor, Tensor]:
        """Return the scores of positives [B, P], and of one sampled negative of each [B, P, 1]."""
        # index_select, because the gradient of plain indexing is summed in no fixed order by several threads.
        positive = left.index_select(1, first)  # [B, P, H]
        pool = rng.processes.gather(left).flatten(0, 1)
        negative = pool.index_select(0, self._sample_negatives(len(pool), first, rng)).view_as(positive)
        scores = self.critic.combine(torch.stack((positive, negative)), right.index_select(1, second))  # [2, B, P]
        return scores[0], scores[1].unsqueeze(-1)

    def _score_batch(
        self, left: Tensor, right: Tensor, first: Tensor, second: Tensor, rng: BatchGenerator
    ) -> tuple[Tensor, Tensor]:
        """Return the scores of positives [B, 2 P], and of the negatives of each [B, 2 P, (N - 1) K], N images in all.

        Each view of a pair is the anchor once, on the right side.
        """
        count, views = left.shape[:2]
        pool = rng.processes.gather(left).flatten(0, 1)
        scores = self.critic.matrix(pool, right.flatten(0, 1)).view(count, views, -1, views)  # [B, K, N, K]
        own = torch.arange(rng.shard.start, rng.shard.stop, device=left.device).unsqueeze(1)
        others = (own + torch.arange(1, scores.shape[2], device=left.device)) % scores.shape[2]
        anchors, partners = torch.cat((second, first)), torch.cat((first, second))
        positive = _of_images(scores, own).flatten(1).index_select(1, anchors * views + partners)
        return positive, _of_images(scores, others).flatten(2).index_select(1, anchors)

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

    def _divergence(self, mu: Tensor, sigma: Tensor | None, first: Tensor, second: Tensor) -> Tensor | None:
        if sigma is None:
            return None
        a, b = ((mu.index_select(1, side), sigma.index_select(1, side)) for side in (first, second))
        return symmetrised_kl(*a, *b).mean() / (mu.shape[-1] if self.skl_reduce == "mean" else 1)


def _of_images(scores: Tensor, images: Tensor) -> Tensor:
    """Return scores [B, K, M, K] of the anchors of each image to views of M images [B, M], from [B, K, N, K]."""
    count, views = scores.shape[:2]
    return scores.gather(2, images.view(count, 1, -1, 1).expand(-1, views, -1, views))
