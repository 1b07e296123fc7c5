"""`photos`: patches of eight colour photographs that the wheels of scikit-image and scikit-learn carry.

A small real set that needs no download. A patch's label is its photograph. The third quarter of each photograph, from
top to bottom, belongs to the test split; a test patch lies wholly inside it and a train patch wholly outside, so no
pixel is in both splits. (Small test regions would be fairer to a photograph's parts, but hold hardly two windows that
differ.) A patch is a window of 96 pixels at two thirds of its size: the smaller the window, the less it tells which way
is up. Positions and pixels come from whole-number arithmetic alone: the same patches on every machine (three of the
photographs are JPEGs, so their pixels are the same as far as JPEG decoders agree).

Left out: drawings, charts and grey pictures; `motorcycle_right` (the same scene as the left one); `retina` and
`rocket` (half and a third of their patches are plain colour).
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

from codial.data.images import ImageSet
from codial.errors import CodialError


class Photo(NamedTuple):
    """Where a photograph is found."""

    label: str
    file: str  # the package, then the path within it
    sha256: str  # of the file, the first 32 digits


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
SPLITS = ("train", "test")
SIDE = 64  # pixels a side of a patch
WINDOW = 96  # pixels a side of what it shows
COUNT = {"train": 500, "test": 125}  # patches a photograph
GET = "pip install scikit-image scikit-learn"


def read(root: Path, split: str) -> ImageSet:
    """Cut the patches of one split: 4,000 for "train", 1,000 for "test", the photographs taking turns.

    Args:
        root: the data root; the decoded photographs (8 MB) are kept in its folder `photos`, so that they can be carried
            to a machine without those wheels, or in the user's cache where there is no such root or it is read-only.
        split: "train" or "test".

    Returns:
        The set, 64 x 64, 8 classes.

    Raises:
        CodialError: the photographs are neither kept nor installed, or are not the expected ones.
    """
    patches = [cut(photograph, split) for photograph in photographs(root).values()]
    images = np.stack(patches, axis=1).reshape(-1, 3, SIDE, SIDE)  # [n, 8, 3, 64, 64] -> [n * 8, 3, 64, 64]
    labels = torch.arange(len(PHOTOS)).repeat(COUNT[split])
    return ImageSet("photos", split, torch.from_numpy(np.ascontiguousarray(images)), labels, CLASSES)


def status(root: Path) -> str:
    """Say in one line whether the photographs are kept or installed."""
    kept = [path for path in _keeping_places(root) if path.is_file()]
    if kept:
        return f"present in {kept[0]}"
    if all(find_spec(photo.file.partition("/")[0]) for photo in PHOTOS):
        return "present in the wheels of scikit-image and scikit-learn"
    return f"missing; get it with `{GET}`"


def problems(root: Path, split: str) -> list[str]:
    """Name the photograph that is neither kept nor installed, if there is one; all splits come from all of them."""
    try:
        photographs(root)
    except CodialError as error:
        return [str(error)]
    return []


def test_area(height: int, width: int) -> np.ndarray:
    """Mark what belongs to the test split: the third quarter from the left, from top to bottom.

    Returns:
        [height, width] bool.
    """
    column = np.arange(width) * 4 // width
    return np.broadcast_to(column == 2, (height, width))


def positions(height: int, width: int, split: str) -> np.ndarray:
    """Return the (top, left) corners of a split's windows, [n, 2], no two alike, spread over all that are possible."""
    taken = np.pad(test_area(height, width).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    within = taken[WINDOW:, WINDOW:] - taken[:-WINDOW, WINDOW:] - taken[WINDOW:, :-WINDOW] + taken[:-WINDOW, :-WINDOW]
    possible = np.argwhere(within == (WINDOW**2 if split == "test" else 0))
    # Multiples of the golden ratio, modulo 1: any number of the first ones lie evenly among all.
    spread = np.argsort(np.arange(len(possible), dtype=np.uint32) * np.uint32(2654435769), kind="stable")
    return possible[spread[: COUNT[split]]]


def cut(photograph: np.ndarray, split: str) -> np.ndarray:
    """Cut a photograph, [H, W, 3] uint8, into the patches of a split, [n, 3, 64, 64] uint8."""
    height, width, _ = photograph.shape
    corners = positions(height, width, split)
    windows = np.stack([photograph[top : top + WINDOW, left : left + WINDOW] for top, left in corners])
    return shrink(windows).transpose(0, 3, 1, 2)  # [n, H, W, 3] -> [n, 3, H, W]


def shrink(windows: np.ndarray) -> np.ndarray:
    """Return windows [n, 3 a, 3 b, 3] uint8 at two thirds of their size, each pixel the rounded mean of its area."""
    count, height, width, _ = windows.shape
    threes = windows.reshape(count, height // 3, 3, width // 3, 3, 3).astype(np.int32)
    part = np.array([[2, 1, 0], [0, 1, 2]], dtype=np.int32)  # of three pixels, in each of the two that replace them
    ninths = np.einsum("pi,naibjc,qj->napbqc", part, threes, part, optimize=True)
    return ((2 * ninths + 9) // 18).astype(np.uint8).reshape(count, height * 2 // 3, width * 2 // 3, 3)


def photographs(root: Path) -> dict[str, np.ndarray]:
    """Return the photographs by label, each [H, W, 3] uint8, from where they are kept or else from the wheels.

    Raises:
        CodialError: they are neither kept nor installed, or are not the expected ones.
    """
    places = _keeping_places(root)
    for place in places:
        kept = _load(place)
        if kept is not None:
            return kept
    decoded = {photo.label: _decode(photo) for photo in PHOTOS}
    for place in places:
        if _keep(decoded, place):
            break
    return decoded


def _keeping_places(root: Path) -> list[Path]:
    """List the files to look for and to write: in the data root if there is one (none is made), in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codial"
    return [folder / "photos" / "photos.safetensors" for folder in (root, cache) if folder == cache or root.is_dir()]


def _decode(photo: Photo) -> np.ndarray:
    package, _, file = photo.file.partition("/")
    spec = find_spec(package)  # finds the folder without importing the package
    if spec is None or spec.origin is None:
        raise CodialError(f"The set 'photos' is cut from pictures in {package}, which is not installed: {GET}")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise CodialError(f"The set 'photos' needs {path}, which is missing; install it again: {GET} --force-reinstall")
    content = path.read_bytes()
    got = hashlib.sha256(content).hexdigest()[:32]
    if got != photo.sha256:
        raise CodialError(
            f"{path} is not the picture that 'photos' is cut from (SHA-256 {got}..., expected {photo.sha256}...);"
            " install scikit-image 0.26 and scikit-learn 1.9, which carry it."
        )
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """Return what is kept, or None if it is missing, damaged or of another version."""
    try:
        with safe_open(path, framework="numpy") as file:
            kept = {label: file.get_tensor(label) for label in CLASSES}
            expected = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return kept if _checksum(kept) == expected else None


def _keep(decoded: dict[str, np.ndarray], path: Path) -> bool:
    """Write to a temporary name and rename, so that no reader sees half a file; say whether it could be written."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save(decoded, metadata={"sha256": _checksum(decoded)}))
        temporary.replace(path)
    except OSError:
        return False
    return True


def _checksum(decoded: dict[str, np.ndarray]) -> str:
    """Hash the pixels, and the files that they should come from: another choice of files is another set."""
    digest = hashlib.sha256()
    for photo in PHOTOS:
        digest.update(f"{photo} {decoded[photo.label].shape}".encode())
        digest.update(np.ascontiguousarray(decoded[photo.label]).data)
    return digest.hexdigest()
