"""Which split a picture belongs to, and what to say about a name that does not exist."""

import difflib
import hashlib
import unicodedata
from collections.abc import Collection
from pathlib import Path

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


def serving(split: str, present: Collection[str]) -> str:
    """Return the split that serves as the one asked for: many sets publish labels of `val` only, and test on it.

    Args:
        split: as it was asked for.
        present: the splits that the set has; without "test" among them, "val" serves as it.
    """
    return "val" if split == "test" and "test" not in present else split


def presence(folder: Path, splits: Collection[str]) -> str:
    """Say in one line whether a set that no command downloads is there.

    Args:
        folder: where it lies or should lie.
        splits: those that are there.
    """
    if splits:
        return f"present in {folder}: {', '.join(splits)}"
    return f"missing in {folder}; unpack its archives so that this folder is there, or say where it is (CODIAL_DATA)."


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
