"""What tests that do damage share: edits that spoil a file, drawn by hypothesis the same on every machine."""

import ctypes
import subprocess
import sys

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_edit = st.tuples(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "zero"]), st.floats(0, 1), st.binary())
edits = st.lists(_edit, min_size=1, max_size=4)


def fuzzed(examples):
    """Settings under which hypothesis tries the same examples on every machine, and keeps nothing."""
    quiet = {"suppress_health_check": list(HealthCheck), "database": None, "deadline": None}
    return settings(max_examples=examples, derandomize=True, **quiet)


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


def flip(path, place=-5):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


def python_without_privileges(code, *arguments):
    """Run Python code to which permissions of files apply, also where the tests are run by root."""

    def give_up():
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, which any user but root is refused

    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=give_up)
