"""One picture, from a file or from a file's bytes."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from codial.data.decode import decode_all
from codial.data.images import ImageSet
from codial.errors import CodialError


def load_picture(path: str | Path, size: int = 96) -> Tensor:
    """Return one picture, upright, its central square at `size`: [3, size, size] uint8.

    Args:
        path: of a picture file.
        size: side in pixels.

    Raises:
        CodialError: there is no such file, or it does not decode.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise CodialError(f"There is no picture {place}; expected the path of a file, such as ~/Pictures/cat.jpg.")
    return _decoded(place, size, str(place))


def picture_of(content: bytes, name: str, size: int = 96) -> Tensor:
    """Return the picture in a file's bytes, as `load_picture` does: [3, size, size] uint8.

    Args:
        content: of the file.
        name: of the file, for messages.
        size: side in pixels.

    Raises:
        CodialError: they do not decode.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "picture"
        place.write_bytes(content)
        return _decoded(place, size, name)


def as_set(picture: Tensor, name: str) -> ImageSet:
    """Return a set of this one picture, [3, H, W] uint8, without a label."""
    return ImageSet(name, "file", picture.unsqueeze(0), torch.tensor([-1]), ())


def _decoded(place: Path, size: int, name: str) -> Tensor:
    images, reasons = decode_all([place], size)
    if reasons[0]:
        raise CodialError(f"{name} is no picture that can be read: {reasons[0]}. Save it as JPEG or PNG.")
    return images[0]
