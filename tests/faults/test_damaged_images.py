"""Thousands of damaged image files: each is decoded or refused with a reason, in bounded time and memory."""

from io import BytesIO

import numpy as np
import pytest
from damage import damaged, edits, fuzzed
from hypothesis import given
from PIL import Image

from codial.data.io.decode import try_decode
from codial.errors import CodialError

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SIZE = 16
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXAMPLES = 500  # damaged files of each format


@pytest.fixture(scope="module")
def valid(few):
    """One real image in every format."""
    image = Image.fromarray(few.images[0].permute(1, 2, 0).numpy())
    contents = {}
    for name in FORMATS:
        buffer = BytesIO()
        image.save(buffer, name)
        contents[name] = buffer.getvalue()
    return contents


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_decoded_or_refused(name, valid, tmp_path, ledger):
    path = tmp_path / f"image.{name.lower()}"

    def read():
        image = np.full((3, SIZE, SIZE), 7, np.uint8)
        if reason := try_decode(path, image):
            assert (image == 7).all()
            raise CodialError(reason)

    @fuzzed(EXAMPLES)
    @given(edits)
    def is_decoded_or_refused(changes):
        path.write_bytes(damaged(valid[name], changes))
        ledger.file(f"damaged {name}", read)

    is_decoded_or_refused()


def test_an_undamaged_file_is_decoded(valid, tmp_path):
    for name, content in valid.items():
        (tmp_path / name).write_bytes(content)
        assert try_decode(tmp_path / name, np.zeros((3, SIZE, SIZE), np.uint8)) == ""
