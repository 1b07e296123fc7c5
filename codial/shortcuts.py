"""How much of the bound can be had without looking: from the colours, tones or layout of views alone.

Crops of a picture share the distribution of its colours, by which a critic can tell them from another picture's (Chen
et al., A Simple Framework for Contrastive Learning, 2020, section 3.1). What such a critic reaches, a network need not
learn to see for; a bound that stays near it has taught the features little else.
"""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from tqdm import tqdm

from codial.config import ViewsConfig
from codial.data import Pictures
from codial.errors import CodialError
from codial.information import js_bound
from codial.models import Critic
from codial.views import sample_views
from codial.views.colour import GREY


def _grey(views: Tensor) -> Tensor:
    return (views * views.new_tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)


def _moments(views: Tensor) -> Tensor:
    return torch.cat((views.mean((2, 3)), views.std((2, 3))), 1)


def _tones(views: Tensor) -> Tensor:
    grey = _grey(views)
    edges = [grey.diff(dim=dim).abs().mean((2, 3)) for dim in (2, 3)]
    return torch.cat((_moments(grey), *edges), 1)


def _layout(views: Tensor) -> Tensor:
    return adaptive_avg_pool2d(_grey(views), 4).flatten(1)


# What a critic sees of each view [N, 3, S, S] in [0, 1] in place of a code.
CUES: dict[str, Callable[[Tensor], Tensor]] = {
    "colours": _moments,  # mean and deviation of red, green and blue: 6 numbers
    "tones": _tones,  # mean, deviation and edges of grey: 4 numbers
    "layout": _layout,  # grey on a grid of 4 x 4: 16 numbers
}


def shortcuts(
    images: Pictures,
    views: ViewsConfig,
    *,
    cues: tuple[str, ...] = tuple(CUES),
    pictures: int = 6000,
    steps: int = 1500,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, float]:
    """Return the Jensen-Shannon bound (equation 4) of critics that see only simple cues of the views.

    Each is judged on pictures that it did not learn from, so that it falls short of the best critic that sees the
    same. Partners are two views of one picture, strangers another picture's under the same transform, as for
    `CodialOptions.negatives` "same".

    Args:
        images: unlabelled is enough.
        views: how they are drawn, at least two a picture.
        cues: names among `CUES`.
        pictures: at most so many, drawn at random.
        steps: of each critic's training.
        seed: of all draws.
        progress: show a bar when it takes over two seconds.

    Returns:
        Nats by cue: between about 0 (such cues tell nothing) and 2 ln 2 = 1.386 (they tell all).

    Raises:
        CodialError: too few pictures or views, or no such cue.
    """
    _check(images, views, cues)
    for name, got, least in (("pictures", pictures, _LEAST), ("steps", steps, 1)):
        if got < least:
            raise CodialError(f"{name} is {got}; expected at least {least}.")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=generator)[:pictures]
    seen: dict[str, list[Tensor]] = {cue: [] for cue in cues}
    for indices in tqdm(chosen.split(_BATCH), desc="views", delay=2, disable=not progress, leave=False):
        drawn = sample_views(images.batch(indices), views, generator).images
        for cue in cues:
            seen[cue].append(CUES[cue](drawn.flatten(0, 1).float()).unflatten(0, drawn.shape[:2]))
    bar = tqdm(cues, desc="critics", delay=2, disable=not progress, leave=False)
    return {cue: _bound(torch.cat(seen[cue]), steps, seed) for cue in bar}


def _bound(cues: Tensor, steps: int, seed: int) -> float:
    """Train a critic on most pictures' cues [N, K, D], stop it by a fifth's bound, and return that on the last fifth.

    Without the stop, a critic that knows few pictures by heart would be worse on others than one that knows nothing.
    """
    fifth, cues = len(cues) // 5, (cues - cues.mean((0, 1))) / (cues.std((0, 1)) + 1e-6)
    known, held, asked = cues.split([len(cues) - 2 * fifth, fifth, fifth])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(2 * cues.shape[2], _HIDDEN)
    optimiser = torch.optim.AdamW(critic.parameters(), lr=6e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, found = 0.0, 0.0  # of a critic that scores all pairs alike
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        (-_once(critic, known, generator)).backward()
        optimiser.step()
        schedule.step()
        if step % max(1, steps // _LOOKS) == 0 and (reached := _judge(critic, held, seed)) > best:
            best, found = reached, _judge(critic, asked, seed)
    return found


@torch.no_grad()
def _judge(critic: Critic, cues: Tensor, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    return sum(float(_once(critic, cues, generator)) for _ in range(_JUDGED)) / _JUDGED


def _once(critic: Critic, cues: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch's bound: of each picture two of its views, and another's under the first one's transform."""
    count, views = cues.shape[:2]
    pairs = torch.tensor(list(combinations(range(views), 2)))
    first, second = pairs[torch.randint(len(pairs), (_BATCH,), generator=generator)].unbind(1)
    own = torch.randint(count, (_BATCH,), generator=generator)
    other = (own + torch.randint(1, count, (_BATCH,), generator=generator)) % count
    asked = cues[own, second]
    return js_bound(_score(critic, cues[own, first], asked), _score(critic, cues[other, first], asked))


def _score(critic: Critic, a: Tensor, b: Tensor) -> Tensor:
    """Score pairs by their gaps and products, too, which a perceptron takes long to form."""
    return critic(torch.cat((a, b), 1), torch.cat(((a - b).abs(), a * b), 1))


def _check(images: Pictures, views: ViewsConfig, cues: tuple[str, ...]) -> None:
    if len(views.primary) < 2:
        raise CodialError(f"views.primary is {views.primary}; a bound between views needs at least two a picture.")
    if len(images) < _LEAST:
        raise CodialError(
            f"{images.name} has {len(images)} pictures; critics need at least {_LEAST} to learn and be judged."
        )
    for cue in cues:
        if cue not in CUES:
            raise CodialError(f"There is no cue called {cue!r}; expected {', '.join(CUES)}.")


_BATCH, _HIDDEN = 512, 128
_LOOKS, _JUDGED = 10, 20  # how often a critic's bound is looked at, and over how many batches
_LEAST = 30  # pictures
