"""What every set of pictures offers, in memory or on disk, and how pictures are chosen from it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from codial.errors import CodialError

Indices = range | Sequence[int] | Tensor


class Pictures(ABC):
    """Pictures of one size, with labels, wherever they lie.

    Attributes:
        name: the set's name, or the folder's.
        split: the split asked for.
        labels: [N] int64, an index into `classes`; -1 where there is no label.
        classes: the class names, or those of the tags.
        tags: [N, len(classes)] int8 where a picture may have several: 1 yes, 0 no, -1 not to be judged; else None.
    """

    name: str
    split: str
    labels: Tensor
    classes: tuple[str, ...]
    tags: Tensor | None

    @property
    @abstractmethod
    def skipped(self) -> tuple[str, ...]:
        """Pictures that did not decode, each "path: reason"."""

    @property
    @abstractmethod
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the content."""

    @abstractmethod
    def batch(self, indices: Indices) -> Tensor:
        """Return some of the pictures.

        Args:
            indices: [B] whole numbers; negative ones count from the end.

        Returns:
            [B, 3, H, W] uint8.

        Raises:
            CodialError: an index is not a whole number or lies outside the set.
        """

    @abstractmethod
    def _only(self, chosen: Tensor) -> Self:
        """Return the set of the pictures at these places, [n] int64."""

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.sides
        kind = "classes" if self.tags is None else "tags"
        classes = f"{len(self.classes)} {kind}" if self.classes else "no labels"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        what = f"{self.name}/{self.split}: {len(self)} pictures of {width} x {height}"
        return f"{type(self).__name__}({what}, {classes}{skipped})"

    def describe(self) -> str:
        """Name the set, split, number of pictures and fingerprint, for reports."""
        return f"{self.name}/{self.split} {len(self)} {self.fingerprint}"

    @property
    def labelled(self) -> bool:
        """Whether every picture has a label."""
        return bool(self.classes) and bool((self.labels >= 0).all())

    def _tags_of(self, chosen: Tensor) -> Tensor | None:
        return None if self.tags is None else self.tags[chosen.to(self.tags.device)]

    def subset(self, limit: int, seed: int = 0) -> Self:
        """Choose pictures at random, without replacement, every class by its share; their order is kept.

        Args:
            limit: how many at most, at least 1; a limit beyond the set returns the set itself.
            seed: 0 or more; the same seed chooses the same pictures on every machine.

        Raises:
            CodialError: `limit` or `seed` is out of range.
        """
        chosen = choose(self.labels, limit, seed)
        return self if len(chosen) == len(self) else self._only(chosen)


def choose(labels: Tensor, limit: int, seed: int) -> Tensor:
    """Choose `limit` positions, each class by its share, without replacement.

    A class of n members offers them, in random order, at (1/2)/n, (3/2)/n, ... of the way from none to all; the
    first `limit` offers are taken. So a class is never more than one member away from its exact share, up to ties.

    Args:
        labels: [N] int64; -1 counts as a class of its own.
        limit: at least 1; more than N means all.
        seed: 0 or more.

    Returns:
        [min(limit, N)] int64, ascending.

    Raises:
        CodialError: `limit` or `seed` is out of range.
    """
    check_whole("limit", limit, least=1)
    check_whole("seed", seed, least=0)
    classes = labels.cpu().numpy()
    keys = np.random.PCG64(seed).random_raw(len(classes))  # numpy freezes this stream, not that of its distributions
    order = np.lexsort((keys, classes))
    _, first, count = np.unique(classes[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, count)
    offer = (rank + 0.5) / np.repeat(count, count)
    taken = order[np.lexsort((keys[order], offer))[:limit]]
    return torch.from_numpy(np.sort(taken))


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse anything but a whole number of at least `least`.

    Raises:
        CodialError: it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CodialError(f"{name} is {value!r}; expected a whole number of at least {least}.")


def as_index(indices: Indices, count: int) -> Tensor:
    """Return indices as a tensor, [B] int64; negative ones stay as they are.

    Raises:
        CodialError: they are not whole numbers, not in one dimension, or not within a set of `count` pictures.
    """
    try:
        index = torch.as_tensor(list(indices) if isinstance(indices, range) else indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CodialError(f"indices is {indices!r}; expected a range, a list or a tensor of whole numbers.") from error
    if index.numel() and (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool):
        raise CodialError(f"indices is of {index.dtype}; expected whole numbers (of a mask: mask.nonzero()[:, 0]).")
    if index.ndim != 1:
        raise CodialError(f"indices has shape {list(index.shape)}; expected one dimension, [B].")
    index = index.to(torch.int64)
    if index.numel() and not -count <= int(index.min()) <= int(index.max()) < count:
        got = f"{int(index.min())} to {int(index.max())}"
        raise CodialError(f"indices run from {got}; the set has {count} pictures, 0 to {count - 1}.")
    return index


def check_labels(labels: Tensor, count: int, classes: int) -> None:
    """Refuse labels that are not those of `count` pictures of `classes` classes.

    Raises:
        CodialError: another shape or dtype, or a label out of range.
    """
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise CodialError(f"labels is {labels.dtype} {list(labels.shape)}; expected torch.int64 [{count}].")
    if count and not -1 <= int(labels.min()) <= int(labels.max()) < classes:
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise CodialError(f"labels run from {got}; expected -1 (no label) to {classes - 1} for {classes} classes.")


def check_tags(tags: Tensor | None, count: int, classes: int) -> None:
    """Refuse tags that are not those of `count` pictures, one column a class.

    Raises:
        CodialError: another shape or dtype, or a value other than 1, 0 and -1.
    """
    if tags is None:
        return
    if tags.dtype != torch.int8 or tags.shape != (count, classes):
        raise CodialError(f"tags is {tags.dtype} {list(tags.shape)}; expected torch.int8 [{count}, {classes}].")
    if tags.numel() and not -1 <= int(tags.min()) <= int(tags.max()) <= 1:
        got = f"{int(tags.min())} to {int(tags.max())}"
        raise CodialError(f"tags run from {got}; expected 1 (yes), 0 (no) and -1 (not to be judged).")
