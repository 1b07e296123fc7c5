"""`photos`: patches of eight color photographs that scikit-image and scikit-learn ship.

A small data set of real images that needs no download. The label of a patch is its photograph. The third quarter of
each photograph from the left is the test region; test patches lie inside it and training patches outside, so no pixel
is in both splits. (Smaller test regions spread over a photograph would represent it better, but hardly hold two
different windows.) A patch is a window of 96 pixels at two thirds of its size; smaller windows show less of which side
is up. Positions and pixels are computed with integers, so the patches are the same on every machine (up to differences
between JPEG decoders: three photographs are JPEGs).

Excluded: drawings, charts and grayscale images; `motorcycle_right` (the same scene as the left one); `retina` and
`rocket` (half and a third of their patches are of a uniform color).
"""

import hashlib
import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from codial.data.base import stratified_indices
from codial.data.catalog import PHOTOS_INSTALL, photos_files
from codial.data.in_memory import ImageSet
from codial.errors import CodialError


class Photo(NamedTuple):
    """A photograph in an installed package."""

    label: str
    file: str  # the package, then the path within it
    sha256: str  # the first 32 digits, of the file


PHOTOS = (
    Photo("astronaut", "skimage/data/astronaut.png", "88431cd9653ccd539741b555fb0a46b6"),
    Photo("cat", "skimage/data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b"),
    Photo("coffee", "skimage/data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1"),
    Photo("flower", "sklearn/datasets/images/flower.jpg", "a77f6ec41e353afdf8bdff2ea981b295"),
    Photo("galaxies", "skimage/data/hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711"),
    Photo("motorcycle", "skimage/data/motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfe"),
    Photo("pagoda", "sklearn/datasets/images/china.jpg", "8378025ad2519d649d02e32bd98990db"),
    Photo("tissue", "skimage/data/ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b23"),
)
CLASSES = tuple(photo.label for photo in PHOTOS)
SIDE = 64  # side of a patch in pixels
WINDOW = 96  # side of its window in the photograph in pixels
COUNT = {"train": 500, "test": 125}  # patches per photograph


def read(root: Path, split: str, limit: int | None = None, seed: int = 0) -> ImageSet:
    """Crop the patches of a split: 4,000 for "train", 1,000 for "test", cycling through the photographs.

    Args:
        root: The data root. The decoded photographs (8 MB) are cached in its folder `photos`, so that they can be
            copied to a machine without those packages; in the user's cache if the root does not exist or is read-only.
        split: "train" or "test".
        limit: Maximum number of images, a random sample stratified by class.
        seed: Seed of that sample.

    Returns:
        The data set, 64 x 64, 8 classes.

    Raises:
        CodialError: The photographs are neither cached nor installed, or differ from the expected ones.
    """
    labels = torch.arange(len(PHOTOS)).repeat(COUNT[split])  # patch i is the i // 8-th of photograph i % 8
    chosen = torch.arange(len(labels)) if limit is None else stratified_indices(labels, limit, seed)
    labels = labels[chosen]
    pixels = np.empty((len(chosen), 3, SIDE, SIDE), dtype=np.uint8)
    for label, photograph in enumerate(load_photographs(root).values()):
        numbers = chosen[labels == label] // len(PHOTOS)
        pixels[(labels == label).numpy()] = crop_patches(photograph, split, numbers.numpy())
    return ImageSet("photos", split, torch.from_numpy(pixels), labels, CLASSES)


def problems(root: Path, split: str) -> list[str]:
    """Return the error if a photograph is neither cached nor installed; every split needs all of them."""
    try:
        load_photographs(root)
    except CodialError as error:
        return [str(error)]
    return []


def test_area(height: int, width: int) -> np.ndarray:
    """Return the mask of the test region: the third quarter from the left, over the full height.

    Returns:
        [height, width] bool.
    """
    column = np.arange(width) * 4 // width
    return np.broadcast_to(column == 2, (height, width))


def positions(height: int, width: int, split: str) -> np.ndarray:
    """Return the (top, left) corners of a split's windows, [n, 2], distinct and spread evenly over all that fit."""
    area = np.pad(test_area(height, width).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = area[WINDOW:, WINDOW:] - area[:-WINDOW, WINDOW:] - area[WINDOW:, :-WINDOW] + area[:-WINDOW, :-WINDOW]
    possible = np.argwhere(inside == (WINDOW**2 if split == "test" else 0))
    # Multiples of the golden ratio modulo 1: any number of the first ones are spread evenly over all.
    order = np.argsort(np.arange(len(possible), dtype=np.uint32) * np.uint32(2654435769), kind="stable")
    return possible[order[: COUNT[split]]]


def crop_patches(photograph: np.ndarray, split: str, numbers: np.ndarray) -> np.ndarray:
    """Crop some patches of a split, [n, 3, 64, 64] uint8, from a photograph, [H, W, 3] uint8.

    Args:
        photograph: [H, W, 3] uint8.
        split: "train" or "test".
        numbers: [n] int64, which of the photograph's patches.
    """
    height, width, _ = photograph.shape
    corners = positions(height, width, split)[numbers]
    windows = np.empty((len(corners), WINDOW, WINDOW, 3), dtype=np.uint8)
    for window, (top, left) in zip(windows, corners, strict=True):
        window[:] = photograph[top : top + WINDOW, left : left + WINDOW]
    return shrink(windows).transpose(0, 3, 1, 2)  # [n, H, W, 3] -> [n, 3, H, W]


def shrink(windows: np.ndarray) -> np.ndarray:
    """Resize windows, [n, 3 a, 3 b, 3] uint8, to two thirds; each pixel is the rounded mean of the area it covers."""
    ninths = _two_of_three(_two_of_three(windows.astype(np.uint16), 1), 2)
    return ((2 * ninths + 9) // 18).astype(np.uint8)


def _two_of_three(pixels: np.ndarray, axis: int) -> np.ndarray:
    """Replace every three pixels along an axis by three times the means of their first and of their second half."""
    before, length, after = pixels.shape[:axis], pixels.shape[axis], pixels.shape[axis + 1 :]
    threes = pixels.reshape(*before, length // 3, 3, *after)
    first, second, third = np.moveaxis(threes, axis + 1, 0)
    twos = np.stack((2 * first + second, second + 2 * third), axis + 1)
    return twos.reshape(*before, length * 2 // 3, *after)


def load_photographs(root: Path) -> dict[str, np.ndarray]:
    """Return the photographs by label, each [H, W, 3] uint8, from the cache or from the installed packages.

    Raises:
        CodialError: They are neither cached nor installed, or differ from the expected ones.
    """
    caches = photos_files(root)
    for path in caches:
        cached = _load(path)
        if cached is not None:
            return cached
    decoded = {photo.label: _decode(photo) for photo in PHOTOS}
    for path in caches:
        if _save(decoded, path):
            break
    return decoded


def _decode(photo: Photo) -> np.ndarray:
    package, _, file = photo.file.partition("/")
    spec = find_spec(package)  # locates the package without importing it
    if spec is None or spec.origin is None:
        raise CodialError(f"The data set 'photos' uses images of {package}, which is not installed: {PHOTOS_INSTALL}")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise CodialError(
            f"The data set 'photos' needs {path}, which is missing; reinstall it: {PHOTOS_INSTALL} --force-reinstall"
        )
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()[:32]
    if actual != photo.sha256:
        raise CodialError(
            f"{path} differs from the image that 'photos' uses (SHA-256 {actual}..., expected {photo.sha256}...);"
            " install scikit-image 0.26 and scikit-learn 1.9, which ship it."
        )
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """Return the cached photographs, or None if the file is missing, damaged or of another version."""
    try:
        with safe_open(path, framework="numpy") as file:
            cached = {label: file.get_tensor(label) for label in CLASSES}
            expected = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return cached if _checksum(cached) == expected else None


def _save(decoded: dict[str, np.ndarray], path: Path) -> bool:
    """Write the cache atomically; return whether it could be written."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")  # several processes may write at the same time
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save(decoded, metadata={"sha256": _checksum(decoded)}))
        temporary.replace(path)
    except OSError:
        return False
    return True


def _checksum(decoded: dict[str, np.ndarray]) -> str:
    """Hash the pixels together with the files they come from, so that other files make another data set."""
    digest = hashlib.sha256()
    for photo in PHOTOS:
        digest.update(f"{photo} {decoded[photo.label].shape}".encode())
        digest.update(np.ascontiguousarray(decoded[photo.label]).data)
    return digest.hexdigest()
