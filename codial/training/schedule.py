"""Learning-rate schedule and training stages."""

import math

from codial.config import TrainConfig
from codial.errors import CodialError


def learning_rate(progress: float, train: TrainConfig) -> float:
    """Return the learning rate of a cosine schedule from `lr` to `lr * lr_end`; `progress` is in [0, 1]."""
    return train.lr * (train.lr_end + (1 - train.lr_end) * (1 + math.cos(math.pi * progress)) / 2)


def stage_ends(shares: tuple[float, ...], epochs: int) -> tuple[int, ...]:
    """Return the epoch at which each stage ends; every stage has at least one epoch, unless the run has none.

    Args:
        shares: fraction of the run that each stage takes.
        epochs: epochs of the run.

    Raises:
        CodialError: there are fewer epochs than stages.
    """
    if epochs == 0:
        return (0,) * len(shares)
    if epochs < len(shares):
        raise CodialError(
            f"train.epochs is {epochs}; expected at least {len(shares)}, one for each stage of this method (or 0)."
        )
    ends = [0]
    for i in range(1, len(shares) + 1):
        end = round(epochs * sum(shares[:i]))
        latest = epochs - (len(shares) - i)  # leaves an epoch for each later stage
        ends.append(min(max(end, ends[-1] + 1), latest))
    return tuple(ends[1:])
