"""Thousands of damaged picture files: each is decoded or refused with a reason, in bounded time and memory."""

from io import BytesIO

import numpy as np
import pytest
from damage import damaged, edits, fuzzed
from hypothesis import given
from PIL import Image

from codial.data.decode import attempt
from codial.errors import CodialError

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SIZE = 16
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXAMPLES = 500  # files of each format


@pytest.fixture(scope="module")
def whole(few):
    """One real picture in every format."""
    picture = Image.fromarray(few.images[0].permute(1, 2, 0).numpy())
    found = {}
    for name in FORMATS:
        buffer = BytesIO()
        picture.save(buffer, name)
        found[name] = buffer.getvalue()
    return found


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_decoded_or_refused(name, whole, tmp_path, ledger):
    path = tmp_path / f"picture.{name.lower()}"

    def look():
        image = np.full((3, SIZE, SIZE), 7, np.uint8)
        if reason := attempt(path, image):
            assert (image == 7).all()
            raise CodialError(reason)

    @fuzzed(EXAMPLES)
    @given(edits)
    def decodes_or_says_why(drawn):
        path.write_bytes(damaged(whole[name], drawn))
        ledger.file(f"damaged {name}", look)

    decodes_or_says_why()


def test_a_whole_file_decodes(whole, tmp_path):
    """Otherwise the test above would show nothing."""
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
        assert attempt(tmp_path / name, np.zeros((3, SIZE, SIZE), np.uint8)) == ""
