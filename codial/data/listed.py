"""Pictures that a list names, with their labels: decoded at once, or from their files as they are asked for."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from codial.data.decode import decode_all
from codial.data.files import PictureFiles, readable
from codial.data.images import ImageSet
from codial.data.pictures import Pictures, check_whole, choose
from codial.errors import CodialError

SIZE = 96  # pixels a side when none is asked for: room for 64-pixel crops
KEEPS = ("auto", "memory", "files")
MEMORY_LIMIT = 4 * 2**30  # bytes of decoded pictures; "auto" leaves more than that in their files


class Options(TypedDict, total=False):
    """What a caller may ask of any set in files, as `from_paths` explains it."""

    size: int | None
    limit: int | None
    seed: int
    strict: bool
    keep: str


def from_paths(
    name: str,
    split: str,
    folder: Path,
    paths: Sequence[str],
    labels: Tensor,
    classes: tuple[str, ...],
    *,
    tags: Tensor | None = None,
    side: int = SIZE,
    size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    strict: bool = False,
    keep: str = "auto",
) -> Pictures:
    """Make a set of picture files.

    Args:
        name: the set's.
        split: the split's name.
        folder: where the paths begin.
        paths: N picture files, "/" between a path's parts.
        labels: [N] int64, an index into `classes`; -1 where there is no label.
        classes: the class names, or those of the tags.
        tags: [N, len(classes)] int8, where a picture may have several.
        side: the set's own, in pixels, where none is asked for.
        size: side in pixels; the shorter side is shrunk to it and the longer one cut, evenly. `side` if None.
        limit: how many files to choose at random, before any is decoded.
        seed: of that choice.
        strict: a picture that does not decode is an error, not skipped with a warning. Files with tags that stay on
            disk are read so in any case: the picture that would stand in for a damaged one has other tags.
        keep: "memory", "files" or, by `MEMORY_LIMIT`, "auto".

    Returns:
        The set, an `ImageSet` or `PictureFiles`.

    Raises:
        CodialError: a number is out of range; none of the pictures is readable; with `strict`, one is not.
    """
    size = side if size is None else size
    check_whole("size", size, least=1)
    if limit is not None:
        chosen = choose(labels, limit, seed)
        paths, labels = [paths[i] for i in chosen.tolist()], labels[chosen]
        tags = None if tags is None else tags[chosen]
    if keep == "files" or (keep == "auto" and len(paths) * 3 * size * size > MEMORY_LIMIT):
        firm = strict or tags is not None
        return PictureFiles(name, split, folder.resolve(), paths, labels, classes, size, firm, tags)
    images, reasons = decode_all([folder / path for path in paths], size)
    skipped = tuple(f"{readable(path)}: {why}" for path, why in zip(paths, reasons, strict=True) if why)
    if skipped:
        _report(skipped, len(paths), folder, strict)
        kept = torch.tensor([not why for why in reasons])
        images, labels, tags = images[kept], labels[kept], None if tags is None else tags[kept]
    return ImageSet(name, split, images, labels, classes, skipped, tags)


def _report(skipped: tuple[str, ...], count: int, folder: Path, strict: bool) -> None:
    if strict:
        raise CodialError(f"{folder}/{skipped[0]}. Mend or remove the file, or read without strict to skip such files.")
    if len(skipped) == count:
        raise CodialError(f"None of the {count} pictures in {folder} could be read; the first: {skipped[0]}.")
    message = f"{len(skipped)} of {count} pictures in {folder} could not be read and are left out (see .skipped)"
    warnings.warn(f"{message}; the first: {skipped[0]}", stacklevel=5)  # the line that called load_images
