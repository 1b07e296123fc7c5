"""A single image, from a file or from the bytes of a file."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from codial.data.in_memory import ImageSet
from codial.data.io.decode import decode_all
from codial.errors import CodialError


def load_image(path: str | Path, size: int = 96) -> Tensor:
    """Return the central square of an image file, upright and resized: [3, size, size] uint8.

    Args:
        path: An image file.
        size: Side in pixels.

    Raises:
        CodialError: The file does not exist or cannot be decoded.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CodialError(f"No image file {file}; expected a path such as ~/Images/cat.jpg.")
    return _decode(file, size, str(file))


def decode_image(content: bytes, name: str, size: int = 96) -> Tensor:
    """Decode the bytes of an image file as `load_image` does: [3, size, size] uint8.

    Args:
        content: Content of the file.
        name: Name of the file, for error messages.
        size: Side in pixels.

    Raises:
        CodialError: They cannot be decoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        file.write_bytes(content)
        return _decode(file, size, name)


def as_image_set(image: Tensor, name: str) -> ImageSet:
    """Return a data set of one unlabeled image, [3, H, W] uint8."""
    return ImageSet(name, "file", image.unsqueeze(0), torch.tensor([-1]), ())


def _decode(file: Path, size: int, name: str) -> Tensor:
    images, reasons = decode_all([file], size)
    if reasons[0]:
        raise CodialError(f"{name} could not be decoded: {reasons[0]}. Save it as JPEG or PNG.")
    return images[0]
