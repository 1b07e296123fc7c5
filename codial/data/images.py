"""The pictures that everything else works on: one uint8 tensor, its labels and its fingerprint."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from codial.errors import CodialError


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Pictures of one size, with labels.

    Attributes:
        name: the set's name, or the folder's.
        split: the split asked for.
        images: [N, 3, H, W] uint8, contiguous.
        labels: [N] int64, an index into `classes`; -1 where there is no label.
        classes: the class names.
        skipped: pictures that did not decode, each "path: reason".

    Raises:
        CodialError: a tensor has another shape or dtype, or a label lies outside `classes`.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_images(self.images)
        _check_labels(self.labels, len(self.images), len(self.classes))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[2:]
        classes = f"{len(self.classes)} classes" if self.classes else "no labels"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"ImageSet({self.name}/{self.split}: {len(self)} pictures of {width} x {height}, {classes}{skipped})"

    def describe(self) -> str:
        """Name the set, split, number of pictures and fingerprint, for reports."""
        return f"{self.name}/{self.split} {len(self)} {self.fingerprint}"

    @property
    def labelled(self) -> bool:
        """Whether every picture has a label."""
        return bool(self.classes) and bool((self.labels >= 0).all())

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 over shape, pixels, labels and classes; names and paths are left out."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.cpu().numpy().data)
        digest.update(self.labels.cpu().numpy().astype("<i8").data)
        digest.update("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def batch(self, indices: range | Sequence[int] | Tensor) -> Tensor:
        """Copy some pictures out.

        Args:
            indices: [B] whole numbers; negative ones count from the end.

        Returns:
            [B, 3, H, W] uint8, on the device of `images`.

        Raises:
            CodialError: an index is not a whole number or lies outside the set.
        """
        index = _as_index(indices, len(self))
        if self.images.device.type == "cpu":
            # By NumPy: torch would give a background thread a team of its own, and OpenMP threads that outnumber the
            # cores sleep between operations, which takes a sixth of a training step.
            return torch.from_numpy(self.images.numpy()[index.numpy()])
        if self.images.is_cuda:  # pinned, so that the host need not wait for what the GPU is still doing
            index = index.pin_memory()
        return self.images[index.to(self.images.device, non_blocking=True)]

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the same set with its pictures on a device; the labels stay where they are."""
        images = self.images.to(device)
        return self if images is self.images else replace(self, images=images)

    def subset(self, limit: int, seed: int = 0) -> "ImageSet":
        """Choose pictures at random, without replacement, every class by its share; their order is kept.

        Args:
            limit: how many at most, at least 1; a limit beyond the set returns the set itself.
            seed: 0 or more; the same seed chooses the same pictures on every machine.

        Raises:
            CodialError: `limit` or `seed` is out of range.
        """
        chosen = choose(self.labels, limit, seed)
        if len(chosen) == len(self):
            return self
        index = chosen.to(self.images.device)
        labels = self.labels[chosen.to(self.labels.device)]
        return ImageSet(self.name, self.split, self.images[index], labels, self.classes, self.skipped)


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


def _check_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        got = f"{images.dtype} {list(images.shape)}"
        raise CodialError(f"images is {got}; expected torch.uint8 [N, 3, H, W] (values 0 to 255, RGB).")
    if not images.is_contiguous():
        raise CodialError("images is not contiguous; pass images.contiguous().")


def _check_labels(labels: Tensor, count: int, classes: int) -> None:
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise CodialError(f"labels is {labels.dtype} {list(labels.shape)}; expected torch.int64 [{count}].")
    if count and not -1 <= int(labels.min()) <= int(labels.max()) < classes:
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise CodialError(f"labels run from {got}; expected -1 (no label) to {classes - 1} for {classes} classes.")


def _as_index(indices: range | Sequence[int] | Tensor, count: int) -> Tensor:
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
