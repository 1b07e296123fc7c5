"""The base class of data sets, and the checks that its subclasses share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from codial.data.checks import check_int
from codial.errors import CodialError

Indices = range | Sequence[int] | Tensor


class Dataset(ABC):
    """Images of one size, with labels, in memory or on disk.

    Attributes:
        name: Name of the data set, or of the folder.
        split: Name of the split.
        labels: [N] int64, indices into `classes`; -1 for no label.
        classes: Names of the classes, or of the tags.
        tags: [N, len(classes)] int8 for data sets with several labels per image: 1 present, 0 absent, -1 to be
            ignored; None otherwise.
    """

    name: str
    split: str
    labels: Tensor
    classes: tuple[str, ...]
    tags: Tensor | None

    @property
    @abstractmethod
    def skipped(self) -> tuple[str, ...]:
        """Images that could not be decoded, each "path: reason"."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the content."""

    @abstractmethod
    def batch(self, indices: Indices) -> Tensor:
        """Return some of the images.

        Args:
            indices: [B] integers; negative ones count from the end.

        Returns:
            [B, 3, H, W] uint8.

        Raises:
            CodialError: An index is not an integer or is out of range.
        """

    @abstractmethod
    def _select(self, indices: Tensor) -> Self:
        """Return the data set of some of the images, [n] int64."""

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.image_size
        kind = "classes" if self.tags is None else "tags"
        classes = f"{len(self.classes)} {kind}" if self.classes else "no labels"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        content = f"{self.name}/{self.split}: {len(self)} images of {width} x {height}"
        return f"{type(self).__name__}({content}, {classes}{skipped})"

    def describe(self) -> str:
        """Return name, split, number of images and fingerprint, for reports."""
        return f"{self.name}/{self.split} {len(self)} {self.fingerprint}"

    @property
    def labeled(self) -> bool:
        """Whether every image has a label."""
        return bool(self.classes) and bool((self.labels >= 0).all())

    def subset(self, limit: int, seed: int = 0) -> Self:
        """Return a random sample without replacement, stratified by class, in the order of the data set.

        Args:
            limit: Maximum number of images, at least 1; the data set itself is returned if it has no more.
            seed: At least 0; the same seed gives the same images on every machine.

        Raises:
            CodialError: `limit` or `seed` is out of range.
        """
        indices = stratified_indices(self.labels, limit, seed)
        return self if len(indices) == len(self) else self._select(indices)

    def _select_tags(self, indices: Tensor) -> Tensor | None:
        return None if self.tags is None else self.tags[indices.to(self.tags.device)]


def stratified_indices(labels: Tensor, limit: int, seed: int) -> Tensor:
    """Sample indices at random without replacement, each class in proportion to its size.

    The n members of a class, in random order, get the ranks (1/2)/n, (3/2)/n, ...; the `limit` smallest ranks of all
    classes are taken. So each class is less than one member away from its exact share, up to ties.

    Args:
        labels: [N] int64; -1 counts as a class.
        limit: At least 1; more than N means all.
        seed: At least 0.

    Returns:
        [min(limit, N)] int64, ascending.

    Raises:
        CodialError: `limit` or `seed` is out of range.
    """
    check_int("limit", limit, minimum=1)
    check_int("seed", seed, minimum=0)
    classes = labels.cpu().numpy()
    keys = np.random.PCG64(seed).random_raw(len(classes))  # numpy freezes this stream, not that of its distributions
    order = np.lexsort((keys, classes))
    _, first, count = np.unique(classes[order], return_index=True, return_counts=True)
    position = np.arange(len(order)) - np.repeat(first, count)
    rank = (position + 0.5) / np.repeat(count, count)
    sampled = order[np.lexsort((keys[order], rank))[:limit]]
    return torch.from_numpy(np.sort(sampled))


def as_index_tensor(indices: Indices, count: int) -> Tensor:
    """Return indices as a tensor, [B] int64; negative ones stay as they are.

    Raises:
        CodialError: They are not integers, not one-dimensional, or out of range for `count` images.
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
        given = f"{int(index.min())} to {int(index.max())}"
        raise CodialError(f"indices run from {given}; the data set has {count} images, 0 to {count - 1}.")
    return index


def check_labels(labels: Tensor, count: int, classes: int) -> None:
    """Check the labels of `count` images of `classes` classes.

    Raises:
        CodialError: Their shape or dtype is another, or a label is out of range.
    """
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise CodialError(f"labels is {labels.dtype} {list(labels.shape)}; expected torch.int64 [{count}].")
    if count and not -1 <= int(labels.min()) <= int(labels.max()) < classes:
        given = f"{int(labels.min())} to {int(labels.max())}"
        raise CodialError(f"labels run from {given}; expected -1 (no label) to {classes - 1} for {classes} classes.")


def check_tags(tags: Tensor | None, count: int, classes: int) -> None:
    """Check the tags of `count` images, a column per class.

    Raises:
        CodialError: Their shape or dtype is another, or a value is not 1, 0 or -1.
    """
    if tags is None:
        return
    if tags.dtype != torch.int8 or tags.shape != (count, classes):
        raise CodialError(f"tags is {tags.dtype} {list(tags.shape)}; expected torch.int8 [{count}, {classes}].")
    if tags.numel() and not -1 <= int(tags.min()) <= int(tags.max()) <= 1:
        given = f"{int(tags.min())} to {int(tags.max())}"
        raise CodialError(f"tags run from {given}; expected 1 (present), 0 (absent) and -1 (ignored).")
