"""Images in memory: one uint8 tensor, its labels and its fingerprint."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from codial.data.base import Dataset, Indices, as_index_tensor, check_labels, check_tags
from codial.errors import CodialError


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet(Dataset):
    """Images in memory, of one size, with labels.

    Attributes:
        name: Name of the data set, or of the folder.
        split: Name of the split.
        images: [N, 3, H, W] uint8, contiguous.
        labels: [N] int64, indices into `classes`; -1 for no label.
        classes: Names of the classes, or of the tags.
        skipped: Images that could not be decoded, each "path: reason".
        tags: [N, len(classes)] int8 for data sets with several labels per image: 1 present, 0 absent, -1 to be
            ignored; None otherwise.

    Raises:
        CodialError: A tensor has another shape or dtype, or a label or tag is out of range.
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
    def image_size(self) -> tuple[int, int]:
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
        """Return a copy of some images.

        Args:
            indices: [B] integers; negative ones count from the end.

        Returns:
            [B, 3, H, W] uint8, on the device of `images`.

        Raises:
            CodialError: An index is not an integer or is out of range.
        """
        index = as_index_tensor(indices, len(self))
        if self.images.device.type == "cpu":
            # Indexed by NumPy: in a background thread torch would start another OpenMP team, and more threads than
            # cores slow a training step down by a sixth.
            return torch.from_numpy(self.images.numpy()[index.numpy()])
        if self.images.is_cuda:  # pinned, so that the copy does not wait for the GPU
            index = index.pin_memory()
        return self.images[index.to(self.images.device, non_blocking=True)]

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the data set with its images on a device; the labels are not moved."""
        images = self.images.to(device)
        return self if images is self.images else replace(self, images=images)

    def _select(self, indices: Tensor) -> Self:
        images = self.images[indices.to(self.images.device)]
        labels = self.labels[indices.to(self.labels.device)]
        return replace(self, images=images, labels=labels, tags=self._select_tags(indices))


def _check_images(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        given = f"{images.dtype} {list(images.shape)}"
        raise CodialError(f"images is {given}; expected torch.uint8 [N, 3, H, W] (RGB, 0 to 255).")
    if not images.is_contiguous():
        raise CodialError("images is not contiguous; pass images.contiguous().")
