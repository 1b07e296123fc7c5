"""Read one picture file."""

from pathlib import Path

from torch import Tensor

from codial.data.decode import decode_all
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
    images, reasons = decode_all([place], size)
    if reasons[0]:
        raise CodialError(f"{place} is no picture that can be read: {reasons[0]}. Save it as JPEG or PNG.")
    return images[0]
