"""Pictures on disk, decoded when they are asked for: a set may be larger than memory."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from codial.data.decode import attempt, decode_each
from codial.data.pictures import Indices, Pictures, as_index, check_labels, check_tags, check_whole
from codial.errors import CodialError

_PART = 256  # pictures that `check` decodes at a time


@dataclass(frozen=True, eq=False, repr=False)
class PictureFiles(Pictures):
    """Picture files, each decoded to one size whenever it is asked for, by several threads.

    A file that does not decode keeps its place in the set: the next one that does takes its place in every batch, the
    next with the same label if there is one. So the same files give the same batches, also in a resumed run. Batches
    may be asked for from several threads, and in a forked process. What Pillow itself warns of is passed on.

    Attributes:
        name: the folder's name.
        split: the split asked for.
        folder: where the paths begin.
        paths: N picture files, "/" between a path's parts.
        labels: [N] int64, an index into `classes`; -1 where there is no label.
        classes: the class names, or those of the tags.
        size: side in pixels that pictures are brought to.
        strict: a picture that does not decode is an error.
        tags: [N, len(classes)] int8 where a picture may have several: 1 yes, 0 no, -1 not to be judged; else None.

    Raises:
        CodialError: there is not one label a path, a label or tag is out of range, or the size is no whole number.
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
    _damaged: dict[int, str] = field(default_factory=dict, init=False)  # by place
    _instead: dict[int, int] = field(default_factory=dict, init=False)  # whose picture stands for a damaged one

    def __post_init__(self) -> None:
        check_whole("size", self.size, least=1)
        check_labels(self.labels, len(self.paths), len(self.classes))
        check_tags(self.tags, len(self.paths), len(self.classes))

    @property
    def skipped(self) -> tuple[str, ...]:
        """Pictures that were found not to decode so far, each "path: reason"."""
        return tuple(self._damaged.values())

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size, self.size

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 over shape, paths, sizes in bytes, labels, classes, tags; no pixels."""
        digest = hashlib.sha256(repr((len(self), 3, self.size, self.size)).encode())
        for path in tqdm(self.paths, desc="fingerprint", unit=" files", delay=2, leave=False):
            size = _bytes(f"{self.folder}/{path}")
            digest.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
        digest.update(self.labels.numpy().astype("<i8").data)
        digest.update("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        if self.tags is not None:
            digest.update(self.tags.numpy().data)
        return digest.hexdigest()[:16]

    def batch(self, indices: Indices) -> Tensor:
        """Decode some pictures, the files that do not decode replaced by others.

        Args:
            indices: [B] whole numbers; negative ones count from the end.

        Returns:
            [B, 3, size, size] uint8.

        Raises:
            CodialError: an index is not a whole number or lies outside the set; no file of the set decodes; with
                `strict`, one does not.
        """
        places = [index % len(self) for index in as_index(indices, len(self)).tolist()]
        places = [self._instead.get(place, place) for place in places]
        images = np.empty((len(places), 3, self.size, self.size), np.uint8)
        reasons = list(decode_each([self.folder / self.paths[place] for place in places], images))
        for place, reason, image in zip(places, reasons, images, strict=True):
            if reason:
                self._replace(place, reason, image)
        return torch.from_numpy(images)

    def check(self, progress: bool = True) -> None:
        """Decode every file once and keep none, so that `skipped` names all that do not decode.

        Args:
            progress: show a bar when it takes over two seconds.

        Raises:
            CodialError: no file decodes; with `strict`, one does not.
        """
        starts = range(0, len(self), _PART)
        for start in tqdm(starts, desc="decoding", delay=2, disable=not progress, leave=False):
            paths = [self.folder / path for path in self.paths[start : start + _PART]]
            images = np.empty((len(paths), 3, self.size, self.size), np.uint8)
            for place, reason in enumerate(decode_each(paths, images), start):
                if reason:
                    self._note(place, reason)
        if len(self._damaged) == len(self):
            raise self._none_decodes()

    def _replace(self, place: int, reason: str, image: np.ndarray) -> None:
        """Fill in, for a picture that does not decode, the next one that does, and warn of each found damaged."""
        labels, damaged = self.labels.numpy(), {place: self._note(place, reason)}
        for other in self._others(place):
            if other in self._damaged:
                continue
            reason = attempt(self.folder / self.paths[other], image)
            if not reason:
                break
            damaged[other] = self._note(other, reason)
        else:
            raise self._none_decodes()
        self._instead.update({bad: other for bad in damaged if labels[bad] == labels[place]})
        for line in filter(None, damaged.values()):
            message = f"In {self.folder} a picture could not be read; another takes its place (see .skipped): {line}"
            warnings.warn(message, stacklevel=3)  # the line that asked for the batch

    def _others(self, place: int) -> Iterator[int]:
        """Yield all other places: those of the same label from `place` on, round the end; then those of other labels.

        When none of a label decodes, all of its places come to the same stand-in, whichever was asked for first.
        """
        labels, count = self.labels.numpy(), len(self)
        yield from (i % count for i in range(place + 1, place + count) if labels[i % count] == labels[place])
        yield from (i for i in range(count) if labels[i] != labels[place])

    def _note(self, place: int, reason: str) -> str:
        """Remember a damaged file, and return what is to be told of it: nothing if another thread has told it."""
        line = f"{readable(self.paths[place])}: {reason}"
        if self.strict:
            raise CodialError(f"{self.folder}/{line}. Mend or remove the file, or read without strict to replace it.")
        return line if self._damaged.setdefault(place, line) is line else ""

    def _none_decodes(self) -> CodialError:
        first = next(iter(self._damaged.values()))
        return CodialError(f"None of the {len(self)} pictures in {self.folder} could be read; the first: {first}.")

    def _only(self, chosen: Tensor) -> Self:
        paths = [self.paths[i] for i in chosen.tolist()]
        return replace(self, paths=paths, labels=self.labels[chosen], tags=self._tags_of(chosen))


def readable(name: str) -> str:
    """Show a name whose bytes are not UTF-8 without tripping whoever prints or stores it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _bytes(path: str) -> int:
    try:
        return os.path.getsize(path)  # several times as fast as a Path's own, for a million files
    except (OSError, ValueError):  # a broken link, no name of a file: told of when the picture is asked for
        return -1
