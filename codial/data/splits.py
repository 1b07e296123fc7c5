"""Which split a picture belongs to, and what to say about a name that does not exist."""

import difflib
import hashlib
import unicodedata
from collections.abc import Collection

from codial.errors import CodialError

TEST_SHARE = 5  # one picture in five of a folder without train/ and test/


def unknown(kind: str, got: object, valid: Collection[str], hint: str = "") -> CodialError:
    """Build the error for a name that is not among the valid ones, with the closest match.

    Args:
        kind: what the name stands for, e.g. "split".
        got: the name that was given.
        valid: the names that exist.
        hint: a sentence to add.
    """
    close = difflib.get_close_matches(str(got).lower(), list(valid), n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return CodialError(f"No {kind} {got!r}.{guess} Expected one of: {', '.join(valid)}.{hint and ' ' + hint}")


def check_split(split: str, valid: Collection[str], owner: str) -> None:
    """Refuse a split that the set does not have.

    Raises:
        CodialError: `split` is not in `valid`; lists the valid ones.
    """
    if split not in valid:
        raise unknown(f"split of {owner}", split, valid)


def hashed_split(relative: str) -> str:
    """Say "train" or "test" for a picture, about 4 to 1, from nothing but its path within the folder.

    So adding or removing other pictures moves none, and the answer is the same on every machine (macOS writes
    accents in two characters, others in one: both count as the same path).

    Args:
        relative: the path below the folder, with "/" between its parts.
    """
    path = unicodedata.normalize("NFC", relative).encode("utf-8", "surrogateescape")
    number = int.from_bytes(hashlib.sha256(path).digest()[:8], "big")
    return "train" if number % TEST_SHARE else "test"
