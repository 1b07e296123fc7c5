"""Images on disk, decoded when they are requested, so that a data set may be larger than memory."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from codial.data.base import Dataset, Indices, as_index_tensor, check_labels, check_tags
from codial.data.checks import check_int
from codial.data.io.decode import File, decode_into, try_decode
from codial.errors import CodialError
from codial.utils.progress import progress_bar

_CHUNK = 256  # images that `check` decodes at a time


@dataclass(frozen=True, eq=False, repr=False)
class ImageFiles(Dataset):
    """Image files, each decoded to one size whenever it is requested, by several threads.

    A file that cannot be decoded keeps its index. In every batch it is replaced by the next file that can be decoded,
    one of the same label if possible. So the same files give the same batches, also in a resumed run. Batches may be
    requested from several threads and in forked processes. Pillow's own warnings are passed on.

    Attributes:
        name: Name of the folder.
        split: Name of the split.
        folder: The folder that `paths` are relative to.
        paths: N image files, with "/" as the separator.
        labels: [N] int64, indices into `classes`; -1 for no label.
        classes: Names of the classes, or of the tags.
        size: Side in pixels of the decoded images.
        strict: Raise an error for an image that cannot be decoded.
        tags: [N, len(classes)] int8 for data sets with several labels per image: 1 present, 0 absent, -1 to be
            ignored; None otherwise.

    Raises:
        CodialError: There is not one label per path, a label or tag is out of range, or `size` is no positive integer.
    """

    name: str
    split: str
    folder: Path
    paths: Sequence[str]
    labels: Tensor
    classes: tuple[str, ...]
    size: int
    strict: bool = False
    tags: Tensor | None = None
    _damaged: dict[int, str] = field(default_factory=dict, init=False)  # index -> "path: reason"
    _replacements: dict[int, int] = field(default_factory=dict, init=False)  # damaged index -> index used instead

    def __post_init__(self) -> None:
        check_int("size", self.size, minimum=1)
        check_labels(self.labels, len(self.paths), len(self.classes))
        check_tags(self.tags, len(self.paths), len(self.classes))

    @property
    def skipped(self) -> tuple[str, ...]:
        """Images that could not be decoded so far, each "path: reason"."""
        return tuple(self._damaged.values())

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size, self.size

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 over shape, paths, sizes in bytes, labels, classes, tags; no pixels."""
        digest = hashlib.sha256(repr((len(self), 3, self.size, self.size)).encode())
        files = zip(self.paths, self._sizes_in_bytes(), strict=True)
        for path, size in progress_bar(files, total=len(self), desc="fingerprint", unit=" files"):
            digest.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
        digest.update(self.labels.numpy().astype("<i8").data)
        digest.update("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        if self.tags is not None:
            digest.update(self.tags.numpy().data)
        return digest.hexdigest()[:16]

    def file(self, index: int) -> File:
        """Return the file of an image."""
        return self.folder / self.paths[index]

    def _sizes_in_bytes(self) -> Iterable[int]:
        return (size_in_bytes(f"{self.folder}/{path}") for path in self.paths)

    def batch(self, indices: Indices) -> Tensor:
        """Decode some images, replacing files that cannot be decoded.

        Args:
            indices: [B] integers; negative ones count from the end.

        Returns:
            [B, 3, size, size] uint8.

        Raises:
            CodialError: An index is not an integer or is out of range; no file can be decoded; with `strict`, one
                cannot.
        """
        requested = [index % len(self) for index in as_index_tensor(indices, len(self)).tolist()]
        requested = [self._replacements.get(index, index) for index in requested]
        images = np.empty((len(requested), 3, self.size, self.size), np.uint8)
        reasons = list(decode_into([self.file(index) for index in requested], images))
        for index, reason, image in zip(requested, reasons, images, strict=True):
            if reason:
                self._replace(index, reason, image)
        return torch.from_numpy(images)

    def check(self, progress: bool = True) -> None:
        """Decode every file once without keeping it, so that `skipped` lists all that cannot be decoded.

        Args:
            progress: Show a progress bar if it takes more than two seconds.

        Raises:
            CodialError: No file can be decoded; with `strict`, one cannot.
        """
        starts = range(0, len(self), _CHUNK)
        for start in progress_bar(starts, desc="decoding", show=progress):
            files = [self.file(index) for index in range(start, min(start + _CHUNK, len(self)))]
            images = np.empty((len(files), 3, self.size, self.size), np.uint8)
            for index, reason in enumerate(decode_into(files, images), start):
                if reason:
                    self._record(index, reason)
        if len(self._damaged) == len(self):
            raise self._none_decodes()

    def _replace(self, index: int, reason: str, image: np.ndarray) -> None:
        """Decode the replacement of a damaged file into `image`, and warn of each damaged file on the way."""
        labels = self.labels.numpy()
        damaged = {index: self._record(index, reason)}
        for other in self._candidates(index):
            if other in self._damaged:
                continue
            reason = try_decode(self.file(other), image)
            if not reason:
                break
            damaged[other] = self._record(other, reason)
        else:
            raise self._none_decodes()
        self._replacements.update({bad: other for bad in damaged if labels[bad] == labels[index]})
        for line in filter(None, damaged.values()):
            message = f"An image in {self.folder} could not be decoded; another replaces it (see .skipped): {line}"
            warnings.warn(message, stacklevel=3)  # the line that requested the batch

    def _candidates(self, index: int) -> Iterator[int]:
        """Yield all other indices: those of the same label after `index`, cyclically, then those of other labels.

        If no file of a label can be decoded, all of them get the same replacement, whichever was requested first.
        """
        labels = self.labels.numpy()
        count = len(self)
        yield from (i % count for i in range(index + 1, index + count) if labels[i % count] == labels[index])
        yield from (i for i in range(count) if labels[i] != labels[index])

    def _record(self, index: int, reason: str) -> str:
        """Record a damaged file and return the line to warn of, empty if another thread has recorded it before."""
        line = f"{printable(self.paths[index])}: {reason}"
        if self.strict:
            raise CodialError(f"{self.folder}/{line}. Repair or remove the file, or load without strict to replace it.")
        return line if self._damaged.setdefault(index, line) is line else ""

    def _none_decodes(self) -> CodialError:
        first = next(iter(self._damaged.values()))
        return CodialError(f"None of the {len(self)} images in {self.folder} could be decoded; the first: {first}.")

    def _select(self, indices: Tensor) -> Self:
        paths = [self.paths[i] for i in indices.tolist()]
        return replace(self, paths=paths, labels=self.labels[indices], tags=self._select_tags(indices))


def printable(name: str) -> str:
    """Return a file name with bytes that are not UTF-8 replaced, so that it can be printed and stored."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def size_in_bytes(path: str) -> int:
    """Return the size of a file, -1 if there is none."""
    try:
        return os.path.getsize(path)  # several times faster than Path.stat, which matters for a million files
    except (OSError, ValueError):  # a broken link or an invalid name: reported when the image is requested
        return -1
