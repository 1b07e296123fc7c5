"""How fast a run learns, and when its stages end."""

import math

from codial.config import TrainConfig
from codial.errors import CodialError


def learning_rate(progress: float, train: TrainConfig) -> float:
    """Return the cosine schedule's rate after a part `progress` of the run, from `lr` down to `lr * lr_end`."""
    return train.lr * (train.lr_end + (1 - train.lr_end) * (1 + math.cos(math.pi * progress)) / 2)


def stage_ends(shares: tuple[float, ...], epochs: int) -> tuple[int, ...]:
    """Return after how many epochs each stage ends; each has at least one, unless the run has none at all.

    Raises:
        CodialError: there are fewer epochs than stages.
    """
    if epochs == 0:
        return (0,) * len(shares)
    if epochs < len(shares):
        raise CodialError(
            f"train.epochs is {epochs}; expected at least {len(shares)}, one for each stage of this system (or 0)."
        )
    ends = [0]
    for i in range(1, len(shares) + 1):
        wanted = round(epochs * sum(shares[:i]))
        ends.append(min(max(wanted, ends[-1] + 1), epochs - (len(shares) - i)))
    return tuple(ends[1:])
