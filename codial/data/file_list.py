"""Data sets of listed image files, decoded at once or when they are requested."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from codial.data.base import Dataset
from codial.data.in_memory import ImageSet
from codial.data.io.decode import decode_all
from codial.data.on_disk import ImageFiles, printable
from codial.errors import CodialError
from codial.utils.devices import free_memory

DEFAULT_SIZE = 96  # pixels a side, enough for 64-pixel crops
MEMORY_LIMIT = 4 * 2**30  # bytes of decoded images; storage="auto" leaves more than that on disk


class LoadOptions(TypedDict, total=False):
    """Options of `from_paths` that every data set of image files passes on."""

    size: int | None
    limit: int | None
    seed: int
    strict: bool
    storage: str


def from_paths(
    name: str,
    split: str,
    folder: Path,
    paths: Sequence[str],
    labels: Tensor,
    classes: tuple[str, ...],
    *,
    tags: Tensor | None = None,
    default_size: int = DEFAULT_SIZE,
    size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    strict: bool = False,
    storage: str = "auto",
) -> Dataset:
    """Return a data set of image files.

    Args:
        name: Name of the data set.
        split: Name of the split.
        folder: The folder that `paths` are relative to.
        paths: N image files, with "/" as the separator.
        labels: [N] int64, indices into `classes`; -1 for no label.
        classes: Names of the classes, or of the tags.
        tags: [N, len(classes)] int8 for data sets with several labels per image.
        default_size: Used if `size` is None.
        size: Side in pixels; the shorter side is resized to it and the longer one cropped centrally.
        limit: Maximum number of files, sampled at random before any is decoded.
        seed: Seed of that sample.
        strict: Raise an error for an image that cannot be decoded, instead of skipping it with a warning. Files with
            tags that stay on disk are always read so, because a replacement would have other tags.
        storage: "memory", "files" or "auto", which depends on `MEMORY_LIMIT`.

    Returns:
        An `ImageSet` or `ImageFiles`.

    Raises:
        CodialError: A number is out of range; no image can be decoded; with `strict`, one cannot.
    """
    size = default_size if size is None else size
    files = ImageFiles(name, split, folder.resolve(), paths, labels, classes, size, strict, tags)
    return stored(files if limit is None else files.subset(limit, seed), storage)


def stored(files: ImageFiles, storage: str) -> Dataset:
    """Return images that stay where they are, or decode them all, as `storage` says (see `from_paths`).

    Raises:
        CodialError: No image can be decoded; with `files.strict`, one cannot; they take more memory than is free.
    """
    if storage == "files" or (storage == "auto" and len(files) * 3 * files.size**2 > MEMORY_LIMIT):
        return replace(files, strict=files.strict or files.tags is not None)
    _require_memory(files)
    labels, tags = files.labels, files.tags
    images, reasons = decode_all([files.file(index) for index in range(len(files))], files.size)
    broken = ((path, reason) for path, reason in zip(files.paths, reasons, strict=True) if reason)
    skipped = tuple(f"{printable(path)}: {reason}" for path, reason in broken)
    if skipped:
        _report(skipped, len(files), files.folder, files.strict)
        decoded = torch.tensor([not reason for reason in reasons])
        images, labels, tags = images[decoded], labels[decoded], None if tags is None else tags[decoded]
    return ImageSet(files.name, files.split, images, labels, files.classes, skipped, tags)


def _require_memory(files: ImageFiles) -> None:
    """Check that the decoded images fit, since a system or a container kills a process that takes more than it has."""
    needed, free = len(files) * 3 * files.size**2, free_memory(torch.device("cpu"))
    if needed > free:
        raise CodialError(
            f"The {len(files)} images in {files.folder} take {needed / 2**30:.2f} GiB of memory when decoded to"
            f" {files.size} px, of which {free / 2**30:.2f} GiB are free. Use fewer images (--limit, data.limit), a"
            ' smaller size (data.size), codial.load_images(..., storage="files"), or allow the container more memory.'
        )


def _report(skipped: tuple[str, ...], count: int, folder: Path, strict: bool) -> None:
    if strict:
        raise CodialError(f"{folder}/{skipped[0]}. Repair or remove the file, or load without strict to skip it.")
    if len(skipped) == count:
        raise CodialError(f"None of the {count} images in {folder} could be decoded; the first: {skipped[0]}.")
    message = f"{len(skipped)} of {count} images in {folder} could not be decoded and are skipped (see .skipped)"
    warnings.warn(f"{message}; the first: {skipped[0]}", stacklevel=6)  # the line that called load_images
