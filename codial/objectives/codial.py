"""CODIAL: tell the primary transforms apart while aligning the views of a picture (equations 1 and 3-7)."""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import CodialOptions, Config
from codial.information import beta_at, js_bound, sampled_symmetrised_kl, symmetrised_kl
from codial.models import AlexNet, Critic, StochasticHead, to_gaussian
from codial.objectives.protocol import Batch, Confusion, Draws, Objective, Terms, confused


class Codial(Objective):
    """Concurrent discrimination and alignment.

    The paper does not say whether the classifier and the stochastic code share the vector that trunk puts out. Three
    readings, by `options.head`:

    - shared: both read all of fc7, the code through a linear layer of its own (the default: the bottleneck then need
      not take the transform out of what the classifier reads);
    - split: fc7 is itself [mean | raw sigma], and the classifier reads it (the most literal);
    - decoupled: the classifier reads fc7's first half, the stochastic head its second, as in Decouple.

    Args:
        config: of the run; `config.objective` holds CODIAL's options.
    """

    pairs: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, CodialOptions)
        self.options, self.classes = options, len(config.views.primary)
        self.transforms = config.views.primary if options.cls_weight > 0 else ()
        self.trunk = AlexNet(config.model, config.views.size)
        half = self.trunk.features // 2
        decoupled, split = options.head == "decoupled", options.head == "split"
        self.classifier = nn.Linear(half if decoupled else self.trunk.features, self.classes)
        if options.mi_weight > 0:
            if not split:
                self.head = StochasticHead(half if decoupled else self.trunk.features, options.z_dim)
            self.critic = Critic(half if split else options.z_dim, options.critic_hidden)
            pairs = torch.tensor(list(combinations(range(self.classes), 2)))
            self.register_buffer("pairs", pairs, persistent=False)  # [K (K - 1) / 2, 2], the first view's number below

    def terms(self, batch: Batch) -> Terms:
        """Return loss, loss_transform, pretext_accuracy and, unless its weight is 0, mi_js, skl and beta."""
        images, labels = batch.views.images, batch.views.labels
        features = self.trunk(images.flatten(0, 1))  # [B, K, 3, S, S] -> [B * K, F]
        for_class, for_code = self._shares(features)
        logits = self.classifier(for_class).float()
        transform = cross_entropy(logits, labels.flatten())  # equation 1
        accuracy = (logits.detach().argmax(1) == labels.flatten()).float().mean()
        found: Terms = {"loss_transform": transform, "pretext_accuracy": accuracy}
        loss = self.options.cls_weight * transform
        if self.options.mi_weight > 0:
            mu, sigma = (part.view(*labels.shape, -1) for part in self._code(for_code))  # [B, K, Z]
            mi_js, skl = self._alignment(mu, sigma, batch.draws)
            beta = beta_at(batch.progress, self.options)
            loss = loss + self.options.mi_weight * (beta * skl - mi_js)  # equations 6 and 7
            found |= {"mi_js": mi_js, "skl": skl, "beta": beta}
        return {"loss": loss} | found

    def confusion(self, batch: Batch) -> Confusion | None:
        """Return what each primary transform is taken for; None where nothing learns to tell them."""
        if not self.transforms:
            return None
        for_class, _ = self._shares(self.trunk(batch.views.images.flatten(0, 1)))
        return confused(self.transforms, self.classifier(for_class), batch.views.labels.flatten())

    def _shares(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier and what the stochastic head read."""
        if self.options.head == "decoupled":
            first, second = features.chunk(2, dim=1)
            return first, second
        return features, features

    def _code(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return to_gaussian(features) if self.options.head == "split" else self.head(features)

    def _alignment(self, mu: Tensor, sigma: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the bound (equation 4) and the divergence (equation 5), averaged over pictures and pairs."""
        z = mu + sigma * draws.normal(*mu.shape[1:])  # re-parameterised: gradients flow to both
        first, second = self._pairs(draws)
        left, right = self.critic.left(z), self.critic.right(z)  # [B, K, H]
        # By index_select, for several threads sum the gradient of plain indexing in no fixed order.
        partner = left.index_select(1, first)  # [B, P, H]
        strangers = (draws.ranks.gather(left) if self.options.share_negatives else left).flatten(0, 1)
        stranger = strangers.index_select(0, self._strangers(len(strangers), first, draws)).view_as(partner)
        scores = self.critic.combine(torch.stack((partner, stranger)), right.index_select(1, second))  # [2, B, P]
        return js_bound(scores[0], scores[1]), self._divergence(mu, sigma, z, first, second)

    def _pairs(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return this step's pairs of views, as two index tensors [P] (first < second), without repetition."""
        pairs = self.pairs
        if self.options.pairs < len(pairs):
            pairs = pairs[draws.permutation(len(pairs))[: self.options.pairs]]
        return pairs[:, 0], pairs[:, 1]

    def _strangers(self, views: int, first: Tensor, draws: Draws) -> Tensor:
        """Return which of `views` views, K a picture, replaces each picture's and pair's first partner, [B * P]."""
        shared = self.options.share_negatives
        start, pictures, many = draws.rows.start if shared else 0, views // self.classes, len(first)
        own = start + torch.arange(draws.rows.stop - draws.rows.start, device=first.device).unsqueeze(1)
        view = first.expand(len(own), -1)
        if self.options.negatives == "roll":
            return ((own - 1) % pictures * self.classes + view).flatten()
        other = (own + draws.integers(1, pictures, many)) % pictures  # never a whole turn
        if self.options.negatives == "random":
            # Uniform, as the paper says; the critic can then tell some by their transform alone (up to 0.35 nats).
            view = draws.integers(0, self.classes, many)
        return (other * self.classes + view).flatten()

    def _divergence(self, mu: Tensor, sigma: Tensor, z: Tensor, first: Tensor, second: Tensor) -> Tensor:
        a, b = ((mu.index_select(1, side), sigma.index_select(1, side)) for side in (first, second))
        if self.options.skl == "sampled":
            each = sampled_symmetrised_kl(*a, z.index_select(1, first), *b, z.index_select(1, second))
        else:
            each = symmetrised_kl(*a, *b)
        return each.mean() / (mu.shape[-1] if self.options.skl_reduce == "mean" else 1)
