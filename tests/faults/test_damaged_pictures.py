"""Thousands of damaged picture files: each is decoded or refused with a reason, in bounded time and memory."""

import resource
import time
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from codial.data.decode import attempt

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SIZE = 16
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXAMPLES = 500  # files of each format
SECONDS, MEGABYTES = 5, 600  # for one file; that the process may grow beyond the most it ever had

edit = st.tuples(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "zero"]), st.floats(0, 1), st.binary())


def damaged(content, edits):
    """Apply edits, each at a part of the way through what is left of the file."""
    for kind, where, new in edits:
        place = int(where * len(content))
        span = 1 + 8 * len(new)
        content = {
            "flip": content[:place] + bytes(b ^ 0x55 for b in content[place : place + span]) + content[place + span :],
            "cut": content[:place],
            "insert": content[:place] + new + content[place:],
            "remove": content[:place] + content[place + span :],
            "repeat": content[:place] + content[place : place + span] * 3 + content[place + span :],
            "zero": content[:place] + bytes(len(content[place : place + span])) + content[place + span :],
        }[kind]
    return content


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

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.lists(edit, min_size=1, max_size=4))
    def decodes_or_says_why(edits):
        path.write_bytes(damaged(whole[name], edits))
        image = np.full((3, SIZE, SIZE), 7, np.uint8)
        begun = time.monotonic()
        reason = attempt(path, image)
        assert time.monotonic() - begun < SECONDS
        assert isinstance(reason, str)
        if reason:
            assert (image == 7).all()
        ledger["damaged pictures tried"] += 1
        ledger["damaged pictures refused with a reason" if reason else "damaged pictures that still decode"] += 1

    before = most_memory()
    decodes_or_says_why()
    assert most_memory() - before < MEGABYTES


def most_memory():
    """The most that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_whole_file_decodes(whole, tmp_path):
    """Otherwise the test above would show nothing."""
    for name, content in whole.items():
        (tmp_path / name).write_bytes(content)
        assert attempt(tmp_path / name, np.zeros((3, SIZE, SIZE), np.uint8)) == ""
