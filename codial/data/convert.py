"""Data sets from arrays, and from pairs of an image and a label as torchvision's data sets have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codial.data.in_memory import ImageSet
from codial.data.io.decode import central_square, orientation_of, to_rgb, upright
from codial.errors import CodialError


def from_arrays(
    images: Any, labels: Any = None, classes: Sequence[str] = (), *, name: str = "arrays", split: str = "train"
) -> ImageSet:
    """Return a data set in memory from arrays of NumPy or torch.

    Args:
        images: [N, 3, H, W], [N, H, W, 3], or gray [N, 1, H, W], [N, H, W, 1] or [N, H, W]; uint8, or floats in [0, 1].
        labels: [N] whole numbers, indices into `classes`; -1 for no label. None for no labels at all.
        classes: Names of the classes; the numbers 0 to max(labels) by default.
        name: Name of the data set; a registered one gets the name under which it is registered.
        split: Name of the split.

    Raises:
        CodialError: An array has another shape or dtype, or a value is out of range.
    """
    pixels = _as_pixels(torch.as_tensor(np.asarray(images)))
    numbers = torch.full((len(pixels),), -1) if labels is None else torch.as_tensor(np.asarray(labels))
    if (numbers.numel() and (numbers.is_floating_point() or numbers.is_complex())) or numbers.ndim != 1:
        raise CodialError(f"labels is {numbers.dtype} {list(numbers.shape)}; expected [N] whole numbers.")
    numbers = numbers.to(torch.int64)
    if not classes and numbers.numel():
        classes = [str(number) for number in range(int(numbers.max()) + 1)]
    return ImageSet(name, split, pixels, numbers, tuple(map(str, classes)))


def from_pairs(
    pairs: Any,
    classes: Sequence[str] | None = None,
    *,
    size: int | None = None,
    name: str = "pairs",
    split: str = "train",
) -> ImageSet:
    """Return a data set in memory from pairs of a Pillow image and a label, such as a data set of torchvision.

    Args:
        pairs: N pairs by their numbers, `pairs[i]`; the image is upright or has its EXIF orientation.
        classes: Names of the classes; by default `pairs.classes`, else the numbers 0 to max(labels).
        size: Side in pixels to which the central squares are resized; None keeps images that have one size.
        name: Name of the data set; a registered one gets the name under which it is registered.
        split: Name of the split.

    Raises:
        CodialError: An item is no such pair, images differ in size and `size` is None, or a label is out of range.
    """
    images, labels = [], []
    for number in range(len(pairs)):
        image, label = _pair(pairs[number], number)
        images.append(_pixels(image, size))
        labels.append(int(label))
    shapes = sorted({image.shape[:2] for image in images})
    if len(shapes) != 1:
        raise CodialError(f"pairs has images of {len(shapes)} sizes; expected one size: pass size=96, for example.")
    names = getattr(pairs, "classes", ()) if classes is None else classes
    return from_arrays(np.stack(images), labels, names, name=name, split=split)


def _pair(item: Any, number: int) -> Any:
    pair = isinstance(item, tuple | list) and len(item) == 2
    if not pair or not isinstance(item[0], Image.Image):
        given = [type(part).__name__ for part in item] if pair else type(item).__name__
        raise CodialError(f"pairs[{number}] is {given}; expected a Pillow image and a label, without a transform.")
    return item


def _pixels(image: Image.Image, size: int | None) -> np.ndarray:
    """Return an image as [H, W, 3] uint8."""
    rgb = to_rgb(image)
    return np.asarray(upright(rgb if size is None else central_square(rgb, size), orientation_of(image)))


def _as_pixels(images: Tensor) -> Tensor:
    """Return images as [N, 3, H, W] uint8."""
    given = f"{images.dtype} {list(images.shape)}"
    if images.is_floating_point():
        if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):
            given = f"{float(images.min()):g} to {float(images.max()):g}"
            raise CodialError(f"images run from {given}; expected uint8, or floats in [0, 1].")
        images = (images * 255).round().to(torch.uint8)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise CodialError(
            f"images is {given}; expected uint8 or floats in [0, 1], of shape [N, 3, H, W],"
            " [N, H, W, 3] or, if gray, [N, H, W]."
        )
    return images.expand(-1, 3, -1, -1).contiguous()
