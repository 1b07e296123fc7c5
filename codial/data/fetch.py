"""Files from the network: what is interrupted is gone on with, and what is not whole never gets its name."""

from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm.auto import tqdm

from codial.data.sums import md5
from codial.errors import CodialError

_TIMEOUT = 60  # seconds without a byte
_PART = 2**18  # bytes read at a time
_ALL_THERE = 416  # the answer to a request for what comes after the end


@dataclass(frozen=True)
class Remote:
    """A file to download.

    Attributes:
        name: of the file.
        md5: its sum, or None where none is published.
        bring: writes the file, or goes on with one that was begun.
    """

    name: str
    md5: str | None
    bring: Callable[[Path], None]


def fetch(remote: Remote, folder: Path) -> Path:
    """Download a file; until it is whole and verified, it is NAME.part, with which the next call goes on.

    Returns:
        The file, in `folder`.

    Raises:
        CodialError: the network or the disk failed, or the file has another sum than it should.
    """
    path, part = folder / remote.name, folder / f"{remote.name}.part"
    if path.is_file():
        return path  # verified before it got this name
    try:
        remote.bring(part)
    except (OSError, HTTPException) as error:
        raise CodialError(
            f"{remote.name} could not be downloaded to {folder}: {error}. Check the network and the disk; the same"
            " command goes on where this one stopped."
        ) from error
    got = remote.md5 and md5(part)
    if got != remote.md5:
        part.unlink()
        raise CodialError(
            f"{remote.name} as downloaded has the MD5 sum {got}, expected {remote.md5}; it was removed. Try again, or"
            " look whether its address leads to something else by now."
        )
    return part.replace(path)


def over_http(url: str, part: Path) -> None:
    """Download to a file; one that was begun is gone on with, if the server can, and else begun again.

    Raises:
        OSError: the network or the disk failed, or the server ended before the file did.
    """
    begun = part.stat().st_size if part.is_file() else 0
    request = Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:
            _save(answer, part, begun if answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-") else 0)
    except HTTPError as error:
        if error.code != _ALL_THERE or not begun:
            raise


def from_drive(identity: str, part: Path) -> None:
    """Download a file of Google Drive through gdown, which goes on with one that was begun.

    Raises:
        CodialError: gdown is missing.
        OSError: it failed.
    """
    try:
        import gdown  # only here: no other set needs it
    except ImportError as error:
        raise CodialError(f"This set lies on Google Drive, which needs gdown ({error}): pip install gdown.") from error
    try:
        gdown.download(id=identity, output=str(part), resume=True)
    except RuntimeError as error:  # too many have asked for the file of late, or it needs a permission
        raise OSError(error) from error


def _save(answer: HTTPResponse, part: Path, begun: int) -> None:
    length = answer.headers.get("Content-Length")
    total = begun + int(length) if length else None
    name = part.name.removesuffix(".part")
    with (
        part.open("ab" if begun else "wb") as file,
        tqdm(total=total, initial=begun, desc=name, unit="B", unit_scale=True, delay=2) as bar,
    ):
        while block := answer.read(_PART):
            file.write(block)
            bar.update(len(block))
        end = file.tell()
    if total is not None and end != total:
        raise OSError(f"the server broke off after {end} of {total} bytes")
