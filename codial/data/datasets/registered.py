"""Data sets that users registered: call their `read`, and check and limit what it returns."""

from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

import torch

from codial.data.base import Dataset, check_labels, check_tags
from codial.data.checks import check_split, resolve_split
from codial.data.in_memory import ImageSet
from codial.data.on_disk import ImageFiles
from codial.data.registered import DATASETS
from codial.errors import CodialError
from codial.utils.plugins import identity


def read(name: str, split: str, **options: Any) -> Dataset:
    """Read a split of a registered data set; its name and split are those under which it was requested.

    Args:
        name: The name under which it is registered.
        split: One of its splits; "test" means "val" if it has no "test".
        options: `root`, `size`, `limit`, `seed`, `strict` and `storage`, passed on as far as its `read` takes them.

    Raises:
        CodialError: There is no such data set or split, its `read` fails or returns something else than a valid
            `Dataset`, its images have another size, or they are in memory and `storage` is "files".
    """
    cls = DATASETS.get(name)
    split = resolve_split(split, cls.splits)
    check_split(split, cls.splits, name)
    call = f"Data set {name!r}: {identity(cls)}.read({split!r})"
    try:
        reader = cls()
        images = reader.read(split, **_accepted(reader.read, options))
    except Exception as error:  # whatever a user's class raises
        kind = "" if isinstance(error, CodialError) else f"{type(error).__name__}: "
        raise CodialError(f"{call} failed. {kind}{error}") from error
    _check(images, call)
    _check_options(images, options, call)
    if isinstance(images, ImageSet | ImageFiles):
        images = replace(images, name=name, split=split)
    limit = options["limit"]
    return images if limit is None else images.subset(limit, options["seed"])


def _accepted(function: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a function takes."""
    parameters = signature(function).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return options
    return {option: value for option, value in options.items() if option in parameters}


def _check(images: Any, call: str) -> None:
    if not isinstance(images, Dataset):
        raise CodialError(
            f"{call} returned {type(images).__name__}; expected an ImageSet, as codial.data.from_arrays(images, labels)"
            " and codial.data.from_pairs(pairs) return."
        )
    try:
        count = len(images)
        if not count:
            raise CodialError("there is no image")
        check_labels(images.labels, count, len(images.classes))
        check_tags(images.tags, count, len(images.classes))
        if not isinstance(images, ImageFiles):  # files are decoded, and damage is reported, when they are requested
            _check_batch(images)
    except Exception as error:  # also of attributes that a subclass of Dataset lacks
        kind = "" if isinstance(error, CodialError) else f"{type(error).__name__}: "
        raise CodialError(f"{call} returned an invalid data set: {kind}{error}") from error


def _check_batch(images: Dataset) -> None:
    first = images.batch([0])
    expected = (1, 3, *images.image_size)
    if first.dtype != torch.uint8 or tuple(first.shape) != expected:
        raise CodialError(f"a batch is {first.dtype} {list(first.shape)}; expected torch.uint8 {list(expected)}.")


def _check_options(images: Dataset, options: dict[str, Any], call: str) -> None:
    size, (height, width) = options["size"], images.image_size
    if size is not None and (height, width) != (size, size):
        raise CodialError(
            f"{call} returned images of {width} x {height} pixels, not {size} x {size}; leave size out, or let read"
            " take the parameter `size`."
        )
    if options["storage"] == "files" and isinstance(images, ImageSet):
        raise CodialError(f'{call} returned images in memory; storage="files" is for image files.')
