"""What the trainer asks of a system: the only thing it knows about any of them."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codial.models import AlexNet
from codial.views import Views


class Batch(NamedTuple):
    """What a system sees in one step."""

    views: Views  # of B pictures
    picture_labels: Tensor  # [B] int64, -1 where unknown; only supervised learning reads them
    progress: float  # part of the run that is over, in [0, 1)
    generator: torch.Generator  # this step's own, on the views' device


Terms = dict[str, Tensor | float]


class Objective(nn.Module, ABC):
    """A system: owns a trunk and whatever else it trains, and turns a batch into a loss."""

    trunk: AlexNet

    @abstractmethod
    def terms(self, batch: Batch) -> Terms:
        """Return the scalar tensor to minimise as `loss`, and its terms and accuracies by their names in logs."""
