"""Passes over a data set that end when a run is to be stopped."""

import threading
from typing import Any, cast

from torch import Tensor

from codial.data import Dataset


class Stopped(Exception):
    """The run is to be stopped; what the pass computes is computed when the run is resumed."""


class _Interruptible:
    """Images whose `batch` raises `Stopped` once `stop` is set."""

    def __init__(self, images: Dataset, stop: threading.Event) -> None:
        self._images, self._stop = images, stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._images, name)

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Any) -> Tensor:
        if self._stop.is_set():
            raise Stopped
        return self._images.batch(indices)


def interruptible(images: Dataset, stop: threading.Event) -> Dataset:
    """Return the same images; `batch` raises `Stopped` once `stop` is set."""
    return cast(Dataset, _Interruptible(images, stop))
