"""Archives, unpacked within a folder and nowhere else."""

import errno
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from codial.errors import CodialError

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file, or a tar file of any compression.

    Args:
        archive: the file.
        folder: that its members go to; it exists.

    Raises:
        CodialError: the archive is damaged, or a member would lie outside the folder.
        OSError: the disk is full, or cannot be written to.
    """
    try:
        (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, folder)
    except tarfile.FilterError as error:
        raise CodialError(f"{archive} was not unpacked: {error}.") from error
    except CodialError:
        raise
    except Exception as error:  # on damaged bytes an unpacker may raise anything
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise CodialError(f"{archive} is damaged ({error}); remove it and get it again.") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
                raise CodialError(f"{archive} was not unpacked: {member.filename!r} would lie outside {folder}.")
        for member in tqdm(members, desc=f"unpacking {archive.name}", unit=" files", delay=2):
            file.extract(member, folder)


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        for member in tqdm(file, desc=f"unpacking {archive.name}", unit=" files", delay=2):
            if not (member.isfile() or member.isdir()):  # through links, filters have been got round
                raise CodialError(f"{archive} was not unpacked: {member.name!r} is a link or a device, as no set has.")
            file.extract(member, folder, filter="data")
