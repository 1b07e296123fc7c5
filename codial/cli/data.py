"""`codial data`: which sets are there, how to get them, and whether they are whole."""

import argparse
from collections.abc import Sequence

from codial.data import SETS, PictureFiles, data_root, describe, load_images
from codial.data.download import get
from codial.data.registry import is_absent, problems, splits_of
from codial.errors import CodialError

_BROKEN = 2  # exit code
_SHOWN = 5  # problems of a split that are named
_CLASSES = 20  # classes that are named


def run(given: argparse.Namespace) -> int | None:
    """List the named sets, get one, or read one whole and say what is in it."""
    if given.action == "list":
        print("\n".join(describe(name, given.data_root) for name in SETS))
        return None
    if given.name is None:
        raise CodialError(f"Say which: codial data {given.action} NAME, with one of {', '.join(SETS)}, or a folder.")
    if given.name not in SETS:
        return _read(given, ("train", "test"))
    if given.action == "get":
        get(given.name, data_root(given.data_root))
    return _check(given)


def _check(given: argparse.Namespace) -> int | None:
    """Report on each split; all is well if something is there, and what is there is whole."""
    found = {split: problems(given.name, split, given.data_root) for split in splits_of(given.name)}
    if all(is_absent(lines) for lines in found.values()):
        raise CodialError(describe(given.name, given.data_root))
    for split, lines in found.items():
        if lines:
            print(f"{given.name}/{split}: {'not there' if is_absent(lines) else 'broken'}")
            print("".join(f"  {line}\n" for line in lines[:_SHOWN]), end="")
            print(f"  and {len(lines) - _SHOWN} more\n" if len(lines) > _SHOWN else "", end="")
    code = _read(given, [split for split, lines in found.items() if not lines])
    broken = any(lines and not is_absent(lines) for lines in found.values())
    return _BROKEN if broken else code


def _read(given: argparse.Namespace, splits: Sequence[str]) -> int | None:
    code = None
    for split in splits:
        try:
            _tell(given, split)
        except CodialError as error:
            print(f"{given.name}/{split}: broken\n  {error}")
            code = _BROKEN
    return code


def _tell(given: argparse.Namespace, split: str) -> None:
    images = load_images(given.name, split, root=given.data_root)
    if given.name in SETS and images.split != split:
        print(f"{given.name}/{split}: the same as {images.split}")
        return
    if isinstance(images, PictureFiles):
        images.check()
    names = ", ".join(images.classes[:_CLASSES]) or "none"
    more = f" and {len(images.classes) - _CLASSES} more" if len(images.classes) > _CLASSES else ""
    print(f"{images}\n  fingerprint {images.fingerprint}; classes: {names}{more}")
    print("".join(f"  left out {reason}\n" for reason in images.skipped), end="")
