"""Numbers that tell, while a run goes on, whether its features are good and whether they collapse."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from codial.config import Config
from codial.data import Pictures
from codial.devices import to_device
from codial.models import Trunk
from codial.objectives import Batch, Draws, Objective
from codial.views import draw, plain_view, render

MOST_CLASSES = 12  # that a matrix can show
_ASKED = 128  # pictures whose views are asked for


@torch.no_grad()
def measure(trunk: Trunk, images: Pictures, count: int, bf16: bool = False) -> dict[str, float]:
    """Return the monitors of a trunk: feature_std and rankme of fc7 and, with labels, knn (fc7) and probe (conv5).

    A fixed choice of pictures is split into four fifths that are known and one that is asked for. All are training
    pictures, so that no test picture is ever looked at; the numbers are for watching a run, not for comparing systems.

    Args:
        trunk: left in evaluation mode.
        images: the pictures; those without a label take no part in knn and probe.
        count: pictures to use.
        bf16: compute features in bfloat16.
    """
    device = next(trunk.parameters()).device
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    trunk.eval()
    parts = []
    for indices in chosen.split(256):
        view = plain_view(to_device(images.batch(indices), device), trunk.size)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            taps = trunk.taps(view, ("conv5", "fc7"))
        parts.append((taps["conv5"].flatten(1).float(), taps["fc7"].float()))
    conv5, fc7 = (torch.cat(part) for part in zip(*parts, strict=True))
    found = {"feature_std": feature_std(fc7), "rankme": rankme(fc7)}
    labels = to_device(images.labels[chosen], device)
    known = labels >= 0
    if known.sum() >= 20:
        conv5, fc7, labels = conv5[known], fc7[known], labels[known]
        asked = torch.arange(len(labels), device=device) % 5 == 0
        found |= {"knn": knn_accuracy(fc7, labels, asked), "probe": ridge_accuracy(conv5, labels, asked)}
    return found


@torch.no_grad()
def confusion(
    objective: Objective, images: Pictures, config: Config, stage: int = 0, bf16: bool = False
) -> dict[str, Any] | None:
    """Return what the pretext's classes are taken for: classes, C names, and counts, C rows (what it was) of C numbers.

    Views and pictures are the same whenever one looks, and nothing is drawn from the run's own random numbers.

    Args:
        objective: left in evaluation mode.
        images: the pictures that the run learns from.
        config: of the run.
        stage: of the system's, that the run is in.
        bf16: compute in bfloat16.

    Returns:
        None for a system without a classifier of fixed classes, or with more of them than a matrix can show.
    """
    device = next(objective.parameters()).device
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    generator, noise = torch.Generator().manual_seed(0), torch.Generator(device).manual_seed(0)
    objective.eval()
    counts: Tensor | int = 0
    names: list[str] = []
    for indices in chosen[: min(_ASKED, config.train.monitor_pictures)].split(config.train.batch):
        drawn = draw(len(indices), images.sides, config.views, generator)
        views = render(to_device(images.batch(indices), device), drawn, config.views)
        labels = to_device(images.labels[indices], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found = objective.confusion(Batch(views, labels, 0.0, Draws(noise, len(indices)), indices, stage))
        if found is None or len(found.classes) > MOST_CLASSES:
            return None
        counts, names = counts + found.counts, list(found.classes)
    return {"classes": names, "counts": torch.as_tensor(counts).tolist()}


def feature_std(features: Tensor) -> float:
    """Return the mean standard deviation of L2-normalised features [N, F], times sqrt(F).

    1 for features spread evenly over the sphere, 0 when all pictures share one feature (collapse).
    """
    return float(normalize(features.float(), dim=1).std(0).mean() * features.shape[1] ** 0.5)


def rankme(features: Tensor) -> float:
    """Return the effective rank of features [N, F]: exp of the entropy of their normalised singular values.

    From RankMe (Garrido et al., 2023, equation 1): 1 when all lie on a line, at most min(N, F).
    """
    values = torch.linalg.svdvals(features.float())
    part = values / values.sum().clamp_min(1e-12) + 1e-7
    return float(torch.exp(-(part * part.log()).sum()))


def knn_accuracy(features: Tensor, labels: Tensor, fold: Tensor, k: int = 20) -> float:
    """Return the accuracy in percent of k nearest neighbours by cosine similarity, each with one vote.

    Args:
        features: [N, F] float.
        labels: [N] int64, all >= 0.
        fold: [N] bool, True for queries; the others are the gallery.
        k: neighbours that vote; a tie goes to the class whose voters are more similar in sum.
    """
    unit = normalize(features.float(), dim=1)
    similar, nearest = (unit[fold] @ unit[~fold].T).topk(min(k, int((~fold).sum())))
    votes = one_hot(labels[~fold][nearest], int(labels.max()) + 1).float()  # [Q, k, C]
    score = votes.sum(1) + 1e-3 * (votes * similar.unsqueeze(-1)).sum(1)
    return _percent(score.argmax(1) == labels[fold])


def ridge_accuracy(features: Tensor, labels: Tensor, fold: Tensor, strength: float = 1e-2) -> float:
    """Return the accuracy in percent of a linear least-squares classifier: a probe in one matrix solution.

    Args:
        features: [N, F] float; standardised here with the fitting part's mean and deviation.
        labels: [N] int64, all >= 0.
        fold: [N] bool, True for the part that is judged; the rest is fitted.
        strength: ridge penalty for each fitted sample.
    """
    x, targets = features.double(), one_hot(labels, int(labels.max()) + 1).double()
    spread = x[~fold].std(0)
    floor = 1e-6 * spread.mean() + 1e-300  # relative: an untrained trunk's activations may be a millionth
    x = (x - x[~fold].mean(0)) / (spread + floor) / x.shape[1] ** 0.5
    fitted, centre = x[~fold], targets[~fold].mean(0)
    gram = fitted @ fitted.T  # the dual form: as large as the sample, whatever F is
    gram.diagonal().add_(strength * len(fitted) / x.shape[1] + 1e-6)
    scores = x[fold] @ (fitted.T @ torch.linalg.solve(gram, targets[~fold] - centre)) + centre
    return _percent(scores.argmax(1) == labels[fold])


def _percent(right: Tensor) -> float:
    return 100 * float(right.float().mean())
