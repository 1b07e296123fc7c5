"""Decode images of any mode and orientation that Pillow reads to square RGB images, from files or from bytes."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from codial.utils.containers import usable_processors
from codial.utils.progress import progress_bar

# Listed so that no other format is opened behind an image's extension (EPS would start Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "HEIF")
EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pnm",
)
_MORE_EXTENSIONS = {"AVIF": (".avif", ".avifs"), "HEIF": (".heic", ".heif", ".hif")}  # if Pillow decodes the format
LARGE = 2**25  # pixels; larger images are decoded one at a time to limit memory
WORKERS = min(8, usable_processors())  # threads are enough: Pillow decodes outside the GIL

File = Path | Callable[[], bytes]  # an image file, or a function that returns the content of one

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # EXIF orientation -> the transposition that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_all(files: Sequence[File], size: int) -> tuple[Tensor, list[str]]:
    """Decode images in parallel, with a progress bar if it takes more than two seconds.

    Args:
        files: N image files.
        size: Side of the decoded images in pixels.

    Returns:
        images: [N, 3, size, size] uint8; black where an image could not be decoded.
        reasons: N strings, why an image could not be decoded; empty if it was.
    """
    images = np.zeros((len(files), 3, size, size), dtype=np.uint8)
    with warnings.catch_warnings():  # around the pool: filters belong to the process, not to a thread
        warnings.filterwarnings("ignore", module=r"PIL\.")  # the caller reports damaged files
        work = decode_into(files, images)
        reasons = list(progress_bar(work, "decoding", len(files), unit=" images"))
    return torch.from_numpy(images), reasons


def decode_into(files: Sequence[File], images: np.ndarray) -> Iterator[str]:
    """Decode images into an array in parallel; closing the iterator cancels the rest.

    Args:
        files: N image files.
        images: [N, 3, size, size] uint8, filled in place; unchanged where an image cannot be decoded.

    Yields:
        N strings in order, why an image could not be decoded; empty if it was.
    """
    yield from _pool().map(try_decode, files, images)


def try_decode(file: File, image: np.ndarray) -> str:
    """Decode an image into `image`, [3, size, size] uint8; return why that failed, or an empty string."""
    try:
        image[:] = decode(file, image.shape[-1])
    except Exception as error:  # decoders may raise anything on damaged data
        return _reason(file, error)
    return ""


def decode(file: File, size: int) -> np.ndarray:
    """Decode the central square of an image, upright, in RGB, resized with antialiasing.

    Color profiles are not applied. Of an animation the first frame is decoded.

    Args:
        file: An image file.
        size: Side of the decoded image in pixels.

    Returns:
        [3, size, size] uint8.

    Raises:
        Exception: Whatever Pillow raises for a file that it cannot decode.
    """
    with Image.open(_open(file), formats=_formats()) as image:
        image.draft(None, (2 * size, 2 * size))  # JPEG is reduced while decoding, a factor of 2 left to antialiasing
        with _large_image_lock() if image.width * image.height > LARGE else nullcontext():
            image.load()
            orientation = orientation_of(image)  # after load(), which rotates TIFFs and removes the tag
            square = upright(central_square(to_rgb(image), size), orientation)
    return np.asarray(square).transpose(2, 0, 1)  # [H, W, 3] -> [3, H, W]


def orientation_of(image: Image.Image) -> int | None:
    """Return the EXIF orientation of an image, None if it has none."""
    return image.getexif().get(_ORIENTATION)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Undo an EXIF orientation, 1 to 8; other values change nothing."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB, with transparency over white."""
    if image.mode.startswith(("I", "F")):
        image = eight_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale a grayscale image of 16-bit, 32-bit or float values to 8 bits (Pillow's conversion clips at 255).

    16-bit values are scaled from 0..65535 to 0..255. Floats within 0..1 and values within 0..255 are taken as such;
    anything else is stretched from its minimum to its maximum.

    Raises:
        ValueError: A value is infinite or NaN.
    """
    values = np.array(image, np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise ValueError("it has infinite or NaN values")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if image.mode == "F" and high <= 1 else 255.0
    values -= low
    values *= 255 / max(high - low, 1e-12)
    return Image.fromarray(values.round(out=values).astype(np.uint8))


def central_square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest central square and resize it to `size` with antialiasing, in one resampling."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="decoding")


@cache
def _large_image_lock() -> Lock:
    return Lock()


_large_image_lock()  # created before any threads
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has no threads of its parent
    os.register_at_fork(after_in_child=_large_image_lock.cache_clear)  # and a lock held by one stays locked


def extensions() -> tuple[str, ...]:
    """Return the endings of image files, lower case: `EXTENSIONS`, and those of formats that not all Pillows decode."""
    return EXTENSIONS + tuple(each for name in _formats() for each in _MORE_EXTENSIONS.get(name, ()))


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    with suppress(ImportError):  # a plugin of Pillow
        import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # some builds of Pillow lack WebP or AVIF


def _open(file: File) -> Path | BytesIO:
    if not isinstance(file, Path):
        return BytesIO(file())
    if not file.is_file():
        raise OSError("not a file (a broken link?)")
    return file


def _reason(file: File, error: Exception) -> str:
    if isinstance(file, Path) and file.is_file() and file.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return " ".join(str(error).split()) or type(error).__name__
