"""CODIAL: tell the primary transforms apart while aligning the views of a picture (equations 1 and 3-7)."""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import CodialOptions, Config
from codial.information import beta_at, draw_gaussian, js_bound, sampled_symmetrised_kl, symmetrised_kl
from codial.models import AlexNet, Critic, StochasticHead, to_gaussian
from codial.objectives.protocol import Batch, Objective, Terms


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

    def __init__(self, config: Config) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, CodialOptions)
        self.options, self.classes = options, len(config.views.primary)
        self.trunk = AlexNet(config.model, config.views.size)
        half = self.trunk.features // 2
        decoupled, split = options.head == "decoupled", options.head == "split"
        self.classifier = nn.Linear(half if decoupled else self.trunk.features, self.classes)
        if options.mi_weight > 0:
            if not split:
                self.head = StochasticHead(half if decoupled else self.trunk.features, options.z_dim)
            self.critic = Critic(half if split else options.z_dim, options.critic_hidden)

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
            mi_js, skl = self._alignment(mu, sigma, batch.generator)
            beta = beta_at(batch.progress, self.options)
            loss = loss + self.options.mi_weight * (beta * skl - mi_js)  # equations 6 and 7
            found |= {"mi_js": mi_js, "skl": skl, "beta": beta}
        return {"loss": loss} | found

    def _shares(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier and what the stochastic head read."""
        if self.options.head == "decoupled":
            first, second = features.chunk(2, dim=1)
            return first, second
        return features, features

    def _code(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return to_gaussian(features) if self.options.head == "split" else self.head(features)

    def _alignment(self, mu: Tensor, sigma: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the bound (equation 4) and the divergence (equation 5), averaged over pictures and pairs."""
        z = draw_gaussian(mu, sigma, generator)
        first, second = draw_pairs(self.classes, self.options.pairs, generator)
        left, right = self.critic.left(z), self.critic.right(z)  # [B, K, H]
        # By index_select, for several threads sum the gradient of plain indexing in no fixed order.
        right = right.index_select(1, second)  # [B, P, H]
        joint = self.critic.combine(left.index_select(1, first), right)  # [B, P]
        other_picture, other_view = self._strangers(len(mu), first, generator)
        stranger = (other_picture * self.classes + other_view).flatten()  # [B * P]
        marginal = self.critic.combine(left.flatten(0, 1).index_select(0, stranger).view_as(right), right)
        return js_bound(joint, marginal), self._divergence(mu, sigma, z, first, second)

    def _strangers(self, pictures: int, first: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return for each picture and pair [B, P] the picture and the view that replace its first partner."""
        own = torch.arange(pictures, device=first.device).unsqueeze(1)
        if self.options.negatives == "roll":
            return (own - 1) % pictures, first.expand(pictures, -1)
        shape, device = (pictures, len(first)), first.device
        step = torch.randint(1, pictures, shape, generator=generator, device=device)  # never a whole turn
        if self.options.negatives == "same":
            return (own + step) % pictures, first.expand(pictures, -1)
        # Uniform, as the paper says; the critic can then tell some by their transform alone (worth up to 0.35 nats).
        view = torch.randint(self.classes, shape, generator=generator, device=device)
        return (own + step) % pictures, view

    def _divergence(self, mu: Tensor, sigma: Tensor, z: Tensor, first: Tensor, second: Tensor) -> Tensor:
        a, b = ((mu.index_select(1, side), sigma.index_select(1, side)) for side in (first, second))
        if self.options.skl == "sampled":
            each = sampled_symmetrised_kl(*a, z.index_select(1, first), *b, z.index_select(1, second))
        else:
            each = symmetrised_kl(*a, *b)
        return each.mean() / (mu.shape[-1] if self.options.skl_reduce == "mean" else 1)


def draw_pairs(views: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return `count` of the pairs of `views` views without repetition, as two index tensors [P] (first < second)."""
    pairs = torch.tensor(list(combinations(range(views), 2)), device=generator.device)
    if count < len(pairs):
        pairs = pairs[torch.randperm(len(pairs), generator=generator, device=generator.device)[:count]]
    return pairs[:, 0], pairs[:, 1]
