"""Pictures in memory: one uint8 tensor, its labels and its fingerprint."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from codial.data.pictures import Indices, Pictures, as_index, check_labels, check_tags
from codial.errors import CodialError


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet(Pictures):
    """Pictures of one size, with labels.

    Attributes:
        name: the set's name, or the folder's.
        split: the split asked for.
        images: [N, 3, H, W] uint8, contiguous.
        labels: [N] int64, an index into `classes`; -1 where there is no label.
        classes: the class names, or those of the tags.
        skipped: pictures that did not decode, each "path: reason".
        tags: [N, len(classes)] int8 where a picture may have several: 1 yes, 0 no, -1 not to be judged; else None.

    Raises:
        CodialError: a tensor has another shape or dtype, or a label or tag is out of range.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    tags: Tensor | None = None

    def __post_init__(self) -> None:
        _check_images(self.images)
        check_labels(self.labels, len(self.images), len(self.classes))
        check_tags(self.tags, len(self.images), len(self.classes))

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 over shape, pixels, labels, classes and tags; no names, no paths."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.cpu().numpy().data)
        digest.update(self.labels.cpu().numpy().astype("<i8").data)
        digest.update("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        if self.tags is not None:
            digest.update(self.tags.cpu().numpy().data)
        return digest.hexdigest()[:16]

    def batch(self, indices: Indices) -> Tensor:
        """Copy some pictures out.

        Args:
            indices: [B] whole numbers; negative ones count from the end.

        Returns:
            [B, 3, H, W] uint8, on the device of `images`.

        Raises:
            CodialError: an index is not a whole number or lies outside the set.
        """
        index = as_index(indices, len(self))
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

    def _only(self, chosen: Tensor) -> Self:
        images = self.images[chosen.to(self.images.device)]
        labels = self.labels[chosen.to(self.labels.device)]
        return replace(self, images=images, labels=labels, tags=self._tags_of(chosen))


def _check_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        got = f"{images.dtype} {list(images.shape)}"
        raise CodialError(f"images is {got}; expected torch.uint8 [N, 3, H, W] (values 0 to 255, RGB).")
    if not images.is_contiguous():
        raise CodialError("images is not contiguous; pass images.contiguous().")
