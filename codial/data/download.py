"""Download public data sets into their official layouts."""

import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pooch

from codial.data.catalog import find_entry
from codial.errors import CodialError
from codial.utils.progress import progress_bar

_TIMEOUT = 60  # seconds without a byte
_BLOCK = 2**18  # bytes read at a time
_ARCHIVES = (".zip", ".tar", ".gz")


class File(NamedTuple):
    """A file to download: an archive, or a list that lies beside the images."""

    name: str
    md5: str
    prefix: str  # of the address, which ends with the name

    @property
    def url(self) -> str:
        """The address."""
        return self.prefix + self.name


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_STANFORD = "http://ai.stanford.edu/~acoates/stl10/"
_OXFORD = "https://thor.robots.ox.ac.uk/pascal/VOC/"
_DRIVE = "https://drive.google.com/uc?id="  # the name follows as a fragment, which the server does not see

# Addresses and MD5 are those of torchvision; Tiny-ImageNet's MD5 is the one in general use.
FILES = {
    "cifar10": (File("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", _TORONTO),),
    "cifar100": (File("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", _TORONTO),),
    "stl10": (File("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb", _STANFORD),),
    "tiny-imagenet": (
        File("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de", "http://cs231n.stanford.edu/"),
    ),
    "celeba": (
        File("img_align_celeba.zip", "00d2c5bc6d35e252742224ab0c1e8fcb", f"{_DRIVE}0B7EVK8r0v71pZjFTYXZWM3FlRnM#"),
        File("list_attr_celeba.txt", "75e246fa4810816ffd6ee81facbd244c", f"{_DRIVE}0B7EVK8r0v71pblRyaVFSWGxPY0U#"),
        File("list_eval_partition.txt", "d32c9cbf5e040fd4025c592c306e6668", f"{_DRIVE}0B7EVK8r0v71pY0NSMzRuSXJEVkk#"),
    ),
    "voc2007": (
        File("VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64", f"{_OXFORD}voc2007/"),
        File("VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f", f"{_OXFORD}voc2007/"),
    ),
    "voc2012": (File("VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd", f"{_OXFORD}voc2012/"),),
}

BY_HAND = {
    "imagenet": "Register at image-net.org, request ILSVRC 2012 and download ILSVRC2012_img_train.tar,"
    " ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz. Unpack the first to {folder}/train, and each of the"
    " 1,000 archives in it to the folder of its name (train/n01440764/n01440764_18.JPEG); the second to {folder}/val,"
    " flat or sorted into the same 1,000 folders; the third to {folder}/ILSVRC2012_devkit_t12.",
    "places205": "Register at places.csail.mit.edu and download, of Places205, the resized images,"
    " imagesPlaces205_resize.tar.gz, and the lists, trainvalsplit_places205.tar.gz. Unpack both to {folder}, so that"
    " there are {folder}/trainvalsplit_places205/train_places205.csv and val_places205.csv, and the images in"
    " {folder}/images256 or {folder}/data/vision/torralba/deeplearning/images256.",
}


def get(name: str, root: Path) -> None:
    """Download and unpack a data set, unless its folder exists. `photos` needs no download.

    Files are downloaded to the hidden folder `.NAME.download` beside the data set's folder. A file gets its name
    there once its pinned MD5 is verified, and the data set's folder is renamed into place once all is unpacked. After
    an interruption, files that were complete are kept, the one that was not is downloaded again.

    Args:
        name: The data set.
        root: The data root.

    Raises:
        CodialError: The name is unknown, the data set needs an account (the message says how to get it), the download
            or its checksum failed, or the disk is full.
    """
    entry = find_entry(name)
    folder = entry.locate(root)
    if folder.is_dir() or name == "photos":
        return
    if name in BY_HAND:
        raise CodialError(f"{name} cannot be downloaded without an account. {BY_HAND[name].format(folder=folder)}")
    work = folder.with_name(f".{name}.download")
    files = [_download(file, work) for file in FILES[name]]
    try:
        unpacked = _unpack_all(files, work / "unpacked")
        inner = unpacked / entry.folder  # as most archives have it; CelebA's have the content of the folder
        (inner if inner.is_dir() else unpacked).rename(folder)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise CodialError(f"{name} could not be unpacked in {work}: {error}. Free disk space and try again.") from error
    shutil.rmtree(work)


def _download(file: File, folder: Path) -> Path:
    """Download a file and verify its MD5; a verified file of an earlier call is kept."""
    try:
        path = pooch.retrieve(file.url, f"md5:{file.md5}", file.name, folder, downloader=_downloader(file.url))
    except (OSError, ValueError) as error:
        raise CodialError(
            f"{file.url} could not be downloaded to {folder}: {error}. Check the network, the free disk space and"
            f" whether the address still leads to {file.name} (MD5 {file.md5}), then try again."
        ) from error
    return Path(path)


def _downloader(url: str) -> Callable:
    if url.startswith("https://drive.google.com"):
        return _from_google_drive
    bar = progress_bar(desc="download", total=1, unit="B", unit_scale=True)  # pooch sets the total
    return pooch.HTTPDownloader(progressbar=bar, chunk_size=_BLOCK, timeout=_TIMEOUT)


def _from_google_drive(url: str, output: str, _: object) -> None:
    """Download through gdown, which passes Google's page about files that are too large to scan."""
    try:
        import gdown  # only CelebA needs it
    except ImportError as error:
        raise CodialError(
            f"{url} is on Google Drive, which needs gdown ({error}): pip install gdown. Or download"
            " img_align_celeba.zip, list_attr_celeba.txt and list_eval_partition.txt from"
            " mmlab.ie.cuhk.edu.hk/projects/CelebA.html, and unpack them to `celeba/` in the data root."
        ) from error
    try:
        gdown.download(url, str(output), quiet=not sys.stderr.isatty())
    except Exception as error:  # its classes differ between versions; usually a quota of downloads is exceeded
        raise OSError(error) from error


def _unpack_all(files: list[Path], folder: Path) -> Path:
    """Unpack archives, and copy other files, to a new folder."""
    shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted call
    folder.mkdir()
    for file in files:
        if file.suffix in _ARCHIVES:
            _unpack(file, folder)
        else:
            shutil.copy(file, folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack within a folder: the `data` filter refuses links and paths that lead out, zip files have them ignored."""
    pooch.get_logger().info("Unpacking '%s'.", archive)
    if archive.suffix == ".zip":
        shutil.unpack_archive(archive, folder)
    else:
        shutil.unpack_archive(archive, folder, filter="data")
