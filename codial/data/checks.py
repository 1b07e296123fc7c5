"""Checks of arguments, with errors that name what was given and what is expected."""

import difflib
from collections.abc import Collection

from codial.errors import CodialError


def unknown_name(kind: str, name: object, valid: Collection[str], hint: str = "") -> CodialError:
    """Return the error for a name that is not among the valid ones, with the closest match.

    Args:
        kind: What the name stands for, e.g. "split".
        name: The name that was given.
        valid: The names that exist.
        hint: A sentence to append.
    """
    close = difflib.get_close_matches(str(name).lower(), list(valid), n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    return CodialError(f"No {kind} {name!r}.{suggestion} Expected one of: {', '.join(valid)}.{hint and ' ' + hint}")


def check_split(split: str, valid: Collection[str], owner: str) -> None:
    """Check that a data set has a split.

    Raises:
        CodialError: `split` is not in `valid`.
    """
    if split not in valid:
        raise unknown_name(f"split of {owner}", split, valid)


def check_int(name: str, value: object, minimum: int) -> None:
    """Check that a value is an integer of at least `minimum`.

    Raises:
        CodialError: It is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise CodialError(f"{name} is {value!r}; expected a whole number of at least {minimum}.")


def resolve_split(split: str, available: Collection[str]) -> str:
    """Return the split that is read for the one requested: "val" for "test" where there is no "test".

    The test labels of many data sets are unpublished, and results are reported on their validation split.

    Args:
        split: The split requested.
        available: The splits that the data set has.
    """
    return "val" if split == "test" and "test" not in available else split
