"""Files whose MD5 is pinned: verified before they are read."""

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from codial.data.folders.names import parse_split
from codial.errors import CodialError


def verify(path: Path, md5: Mapping[str, str], name: str) -> None:
    """Verify the MD5 of a file.

    Args:
        path: The file.
        md5: The published MD5 of each file name.
        name: The data set.

    Raises:
        CodialError: The file does not exist, or its MD5 is another.
    """
    if problem := _problem(path, md5):
        raise CodialError(f"{problem}. {how_to_get(path.parent, name)}")


def load_pickle(path: Path, md5: Mapping[str, str], name: str) -> Any:
    """Unpickle an official file, once its MD5 is verified: another pickle could run any code.

    Args:
        path: The file.
        md5: The published MD5 of each file name.
        name: The data set.

    Raises:
        CodialError: The file does not exist, or its MD5 is another.
    """
    verify(path, md5, name)
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")


def find_problems(folder: Path, files: Iterable[str], md5: Mapping[str, str]) -> list[str]:
    """List the files of a folder that are missing or damaged; a single line if none of them exists."""
    paths = [folder / file for file in files]
    if not any(path.is_file() for path in paths):
        return [f"{paths[0]} does not exist" + (", nor do the split's other files" if paths[1:] else "")]
    problems = (_problem(path, md5) if path.is_file() else f"{path} is missing" for path in paths)
    return [problem for problem in problems if problem]


def how_to_get(folder: Path, name: str) -> str:
    """Return the sentence that says how to get a data set whose files are missing or damaged."""
    remove = f"Remove {folder} and download" if folder.exists() else "Download"
    get = f"{remove} the official files with `codial data get {name}`, or set root=... or CODIAL_DATA to their folder."
    return get + _other_layout(folder, name)


def _other_layout(folder: Path, name: str) -> str:
    """Return a sentence about the same data set in another layout, as PNG files or binary; "" if there is none."""
    for other in (folder, folder.parent / name):
        if other.is_dir() and any(parse_split(entry.name) and entry.is_dir() for entry in other.iterdir()):
            return f" {other} holds folders of images instead: read them as a folder, data.source={other}."
    binary = next(folder.parent.glob(f"{folder.name.split('-batches')[0].removesuffix('-python')}*bin*"), None)
    return f" {binary} is the binary version, which is not read; get the Python version." if binary else ""


def _problem(path: Path, md5: Mapping[str, str]) -> str:
    if not path.is_file():
        return f"{path} does not exist"
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "md5").hexdigest()
    return "" if actual == md5[path.name] else f"{path} is damaged: its MD5 is {actual}, expected {md5[path.name]}"
