"""Shortcut baselines: the bound that critics reach from only the colors, tones or layout of views.

Crops of an image share its color distribution, so a critic can distinguish them from crops of other images without
recognizing any content (Chen et al., A Simple Framework for Contrastive Learning, 2020, section 3.1). If a network's
bound is not above these baselines, alignment has taught it little else.
"""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from codial.config import ViewsConfig
from codial.data import Dataset
from codial.errors import CodialError
from codial.losses import Critic
from codial.losses.bounds import js_bound
from codial.transforms import sample_views
from codial.transforms.color_jitter import GRAY_WEIGHTS
from codial.utils.progress import progress_bar


def _gray(views: Tensor) -> Tensor:
    return (views * views.new_tensor(GRAY_WEIGHTS).view(3, 1, 1)).sum(1, keepdim=True)


def _moments(views: Tensor) -> Tensor:
    return torch.cat((views.mean((2, 3)), views.std((2, 3))), 1)


def _tones(views: Tensor) -> Tensor:
    gray = _gray(views)
    edges = [gray.diff(dim=dim).abs().mean((2, 3)) for dim in (2, 3)]
    return torch.cat((_moments(gray), *edges), 1)


def _layout(views: Tensor) -> Tensor:
    return adaptive_avg_pool2d(_gray(views), 4).flatten(1)


# Functions from views [N, 3, S, S] in [0, 1] to the vectors that critics get instead of codes.
CUES: dict[str, Callable[[Tensor], Tensor]] = {
    "colors": _moments,  # mean and standard deviation of red, green and blue: 6 numbers
    "tones": _tones,  # mean, standard deviation and mean absolute gradients of gray: 4 numbers
    "layout": _layout,  # gray on a grid of 4 x 4: 16 numbers
}


def shortcuts(
    images: Dataset,
    views: ViewsConfig,
    *,
    cues: tuple[str, ...] = tuple(CUES),
    limit: int = 6000,
    steps: int = 1500,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, float]:
    """Return the Jensen-Shannon bound (equation 4) of critics that get only simple cues of the views.

    Each critic is evaluated on images that it was not trained on, so its bound is below the best critic's. Positives
    are two views of one image; the negative is another image's view under the same transform, as with
    `CodialConfig.negatives` "same".

    Args:
        images: a dataset; labels are not used.
        views: the transforms, at least two views per image.
        cues: names of `CUES`.
        limit: maximum number of images, sampled at random.
        steps: training steps of each critic.
        seed: seed of all randomness.
        progress: show a progress bar after two seconds.

    Returns:
        The bound by cue in nats: about 0 if a cue is uninformative, 2 ln 2 = 1.386 if it identifies the image.

    Raises:
        CodialError: there are too few images or views, or there is no such cue.
    """
    _check(images, views, cues)
    for name, value, minimum in (("limit", limit, _MIN_IMAGES), ("steps", steps, 1)):
        if value < minimum:
            raise CodialError(f"{name} is {value}; expected at least {minimum}.")
    generator = torch.Generator().manual_seed(seed)
    sampled = torch.randperm(len(images), generator=generator)[:limit]
    vectors: dict[str, list[Tensor]] = {cue: [] for cue in cues}
    for indices in progress_bar(sampled.split(_BATCH), desc="views", show=progress):
        batch = sample_views(images.batch(indices), views, generator).images
        for cue in cues:
            vectors[cue].append(CUES[cue](batch.flatten(0, 1).float()).unflatten(0, batch.shape[:2]))
    bar = progress_bar(cues, desc="critics", show=progress)
    return {cue: _train_critic(torch.cat(vectors[cue]), steps, seed) for cue in bar}


def _train_critic(cues: Tensor, steps: int, seed: int) -> float:
    """Train a critic on three fifths of the images' cues [N, K, D], and return its bound on the test fifth.

    Early stopping on the validation fifth: a critic that memorizes few images would be worse than chance on others.
    """
    fifth = len(cues) // 5
    cues = (cues - cues.mean((0, 1))) / (cues.std((0, 1)) + 1e-6)
    train, val, test = cues.split([len(cues) - 2 * fifth, fifth, fifth])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(2 * cues.shape[2], _HIDDEN)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=6e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best_val, bound = 0.0, 0.0  # of a critic with constant scores
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        (-_batch_bound(critic, train, generator)).backward()
        optimizer.step()
        schedule.step()
        if step % max(1, steps // _EVALUATIONS) == 0 and (val_bound := _mean_bound(critic, val, seed)) > best_val:
            best_val = val_bound
            bound = _mean_bound(critic, test, seed)
    return bound


@torch.no_grad()
def _mean_bound(critic: Critic, cues: Tensor, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    bounds = [float(_batch_bound(critic, cues, generator)) for _ in range(_EVALUATION_BATCHES)]
    return sum(bounds) / _EVALUATION_BATCHES


def _batch_bound(critic: Critic, cues: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random batch's bound: two views of each image, and another image's view under the first's transform."""
    count, views = cues.shape[:2]
    pairs = torch.tensor(list(combinations(range(views), 2)))
    first, second = pairs[torch.randint(len(pairs), (_BATCH,), generator=generator)].unbind(1)
    image = torch.randint(count, (_BATCH,), generator=generator)
    other = (image + torch.randint(1, count, (_BATCH,), generator=generator)) % count
    anchor = cues[image, second]
    return js_bound(_score(critic, cues[image, first], anchor), _score(critic, cues[other, first], anchor))


def _score(critic: Critic, a: Tensor, b: Tensor) -> Tensor:
    """Score pairs; the critic also gets differences and products, which a perceptron is slow to learn."""
    return critic(torch.cat((a, b), 1), torch.cat(((a - b).abs(), a * b), 1))


def _check(images: Dataset, views: ViewsConfig, cues: tuple[str, ...]) -> None:
    if len(views.primary) < 2:
        raise CodialError(f"views.primary is {views.primary}; expected at least two views per image.")
    if len(images) < _MIN_IMAGES:
        raise CodialError(f"{images.name} has {len(images)} images; critics need at least {_MIN_IMAGES}.")
    for cue in cues:
        if cue not in CUES:
            raise CodialError(f"There is no cue called {cue!r}; expected {', '.join(CUES)}.")


_BATCH = 512
_HIDDEN = 128
_EVALUATIONS = 10  # per training
_EVALUATION_BATCHES = 20
_MIN_IMAGES = 30
