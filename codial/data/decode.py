"""Picture files to pixels: every mode and orientation that Pillow reads becomes one square RGB picture."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm.auto import tqdm

# Named, so that a file of another kind behind a picture's extension (EPS would start Ghostscript) is not opened.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
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
LARGE = 2**25  # pixels; larger pictures take turns, so that a folder of them fits memory, too
WORKERS = min(8, os.cpu_count() or 1)  # threads are enough: Pillow decodes outside the GIL

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # EXIF orientation -> the move that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_all(paths: Sequence[Path], size: int) -> tuple[Tensor, list[str]]:
    """Decode many pictures, several at a time, with a progress bar when that takes more than two seconds.

    Args:
        paths: N picture files.
        size: side of the result in pixels.

    Returns:
        images: [N, 3, size, size] uint8; black where the picture did not decode.
        reasons: N strings: why the picture did not decode, empty where it did.
    """
    images = np.zeros((len(paths), 3, size, size), dtype=np.uint8)
    with warnings.catch_warnings():  # around the pool: filters belong to the process, not to a thread
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a file is reported once, by the caller
        work = decode_each(paths, images)
        reasons = list(tqdm(work, total=len(paths), desc="decoding", unit=" pictures", delay=2, leave=False))
    return torch.from_numpy(images), reasons


def decode_each(paths: Sequence[Path], images: np.ndarray) -> Iterator[str]:
    """Decode pictures into an array, several at a time; what is left of them is given up when this is broken off.

    Args:
        paths: N picture files.
        images: [N, 3, size, size] uint8, to be filled; left as it was where the picture does not decode.

    Yields:
        N strings, in order: why the picture did not decode, empty where it did.
    """
    yield from _pool().map(attempt, paths, images)


def attempt(path: Path, image: np.ndarray) -> str:
    """Decode one picture into `image`, [3, size, size] uint8, and return why that failed, or an empty string."""
    try:
        image[:] = decode(path, image.shape[-1])
    except Exception as error:  # on damaged bytes a decoder may raise anything
        return _reason(path, error)
    return ""


def decode(path: Path, size: int) -> np.ndarray:
    """Decode one picture: upright, RGB, the central square, antialiased to `size`. Colour profiles are not applied.

    Args:
        path: a picture file; of an animation the first frame is taken.
        size: side of the result in pixels.

    Returns:
        [3, size, size] uint8.

    Raises:
        Exception: whatever Pillow raises for a file that it cannot read.
    """
    if not path.is_file():
        raise OSError("not a file (a broken link?)")
    with Image.open(path, formats=_formats()) as image:
        image.draft(None, (2 * size, 2 * size))  # JPEG shrinks while decoding; at least a factor 2 is left to antialias
        with _turn() if image.width * image.height > LARGE else nullcontext():
            image.load()
            orientation = image.getexif().get(_ORIENTATION)  # after load: TIFF turns itself and drops the tag
            square = central_square(to_rgb(image), size)
    if orientation in _UPRIGHT:
        square = square.transpose(_UPRIGHT[orientation])
    return np.asarray(square).transpose(2, 0, 1)  # [H, W, 3] -> [3, H, W]


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB, transparency over white."""
    if image.mode.startswith(("I", "F")):
        image = eight_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale a grey picture of 16 bits, 32 bits or floats to 8 bits (Pillow's own conversion clips at 255).

    16 bits go from 0..65535 to 0..255. Otherwise floats within 0..1 and numbers within 0..255 are taken as such,
    and anything else is stretched from its smallest to its largest value.

    Raises:
        ValueError: a value is infinite or not a number.
    """
    values = np.array(image, np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise ValueError("it holds values that are infinite or not a number")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if image.mode == "F" and high <= 1 else 255.0
    values -= low
    values *= 255 / max(high - low, 1e-12)
    return Image.fromarray(values.round(out=values).astype(np.uint8))


def central_square(image: Image.Image, size: int) -> Image.Image:
    """Cut the largest central square and resize it to `size`, antialiased, in one resampling."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="decoding")


@cache
def _turn() -> Lock:
    return Lock()


_turn()  # made before there are threads that could both make one
os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has none of its parent's threads
os.register_at_fork(after_in_child=_turn.cache_clear)  # nor will they unlock what they had locked


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # some builds of Pillow lack WebP


def _reason(path: Path, error: Exception) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a known format"
    return " ".join(str(error).split()) or type(error).__name__
