"""Files whose MD5 sums are published."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tqdm.auto import tqdm

from codial.errors import CodialError

_PART = 2**22  # bytes hashed at a time


def md5(path: Path) -> str:
    """Return a file's MD5 sum, 32 hexadecimal digits."""
    digest, size = hashlib.md5(usedforsecurity=False), path.stat().st_size
    with (
        path.open("rb") as file,
        tqdm(total=size, desc=f"checking {path.name}", unit="B", unit_scale=True, delay=2, leave=False) as bar,
    ):
        while part := file.read(_PART):
            digest.update(part)
            bar.update(len(part))
    return digest.hexdigest()


def verify(path: Path, sums: Mapping[str, str], name: str) -> None:
    """Refuse a file that is missing or damaged.

    Args:
        path: of the file.
        sums: the published sums, by the file's name.
        name: the set's.

    Raises:
        CodialError: it does not exist, or has another sum.
    """
    if fault := _fault(path, sums):
        raise CodialError(f"No {name}: {fault}. {get(path.parent, name)}")


def faults(folder: Path, files: Iterable[str], sums: Mapping[str, str]) -> list[str]:
    """Name the files of a folder that are missing or damaged, a line each; one line for all if none is there."""
    paths = [folder / file for file in files]
    if not any(path.is_file() for path in paths):
        return [f"{paths[0]} does not exist, nor the split's other files"] if paths[1:] else [_fault(paths[0], sums)]
    found = (f"{path} is missing" if not path.is_file() else _fault(path, sums) for path in paths)
    return [fault for fault in found if fault]


def status(folder: Path, files: Iterable[str], name: str) -> str:
    """Say in one line whether the files are there; their sums are verified when they are read."""
    wanted = tuple(files)
    missing = [file for file in wanted if not (folder / file).is_file()]
    if not missing:
        return f"present in {folder}"
    some = "" if len(missing) == len(wanted) else f"{missing[0]} "
    return f"missing {some}in {folder}; get it with `codial data get {name}`"


def get(folder: Path, name: str) -> str:
    """Say how to get a set whose files are missing or damaged."""
    remove = f"Remove {folder}, and get" if folder.exists() else "Get"
    return f"{remove} it with `codial data get {name}`, or say where it is (root=..., or CODIAL_DATA)."


def _fault(path: Path, sums: Mapping[str, str]) -> str:
    if not path.is_file():
        return f"{path} does not exist"
    got = md5(path)
    return "" if got == sums[path.name] else f"{path} is damaged: MD5 {got}, expected {sums[path.name]}"
